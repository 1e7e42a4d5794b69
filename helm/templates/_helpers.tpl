{{- define "fanfare.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "fanfare.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fanfare.labels" -}}
{{ include "fanfare.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "fanfare.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "fanfare.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Order workers are no nodes: the service of the nodes must not find them. */}}
{{- define "fanfare.ordersSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-orders
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fanfare.ordersContainer" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - secretRef: {name: {{ .Values.orderWorkers.existingSecret }}}
resources:
  {{- toYaml .Values.orderWorkers.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "fanfare.ordersEnv" -}}
- name: ORDER_WORKER_HOST
  value: "0.0.0.0"
- name: ORDER_WORKER_PORT
  value: "5004"
- name: ORDER_WORKER_GRACE_MS
  value: "{{ mul .Values.orderWorkers.graceSeconds 1000 }}"
- name: PUSHER_HOST
  value: {{ include "fanfare.name" . }}
- name: PUSHER_PORT
  value: {{ .Values.service.port | quote }}
{{- with .Values.app.existingSecret }}
- name: PUSHER_APP_ID
  valueFrom: {secretKeyRef: {name: {{ . }}, key: app-id}}
- name: PUSHER_APP_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: app-key}}
- name: PUSHER_APP_SECRET
  valueFrom: {secretKeyRef: {name: {{ . }}, key: app-secret}}
{{- end }}
{{- with .Values.orderWorkers.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Settings of adapters as the variables that the server knows them by. */}}
{{- define "fanfare.adapters" -}}
{{- range $name, $adapter := .Values.adapters }}
- name: FANFARE_ADAPTERS_{{ upper $name }}_ENABLED
  value: "true"
{{- range $key, $value := $adapter.settings }}
- name: FANFARE_ADAPTERS_{{ upper $name }}_{{ upper $key }}
  {{- if kindIs "slice" $value }}
  value: {{ join "," $value | quote }}
  {{- else if kindIs "float64" $value }}
  value: {{ int64 $value | quote }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Values that fit the schema and still cannot work: say so before the cluster does. */}}
{{- define "fanfare.check" -}}
{{- if not (or .Values.app.existingSecret .Values.configSecret.name) -}}
{{- fail "no app: set app.existingSecret to a secret with app-id, app-key and app-secret, or configSecret.name to one with a configuration file" -}}
{{- end -}}
{{- if and .Values.app.existingSecret .Values.configSecret.name -}}
{{- fail "app.existingSecret and configSecret.name: the apps come from one of the two; expected only one to be set" -}}
{{- end -}}
{{- if and .Values.config .Values.configSecret.name -}}
{{- fail "config and configSecret.name: there is one configuration file; expected only one to be set" -}}
{{- end -}}
{{- $nodes := .Values.replicaCount | int -}}
{{- if .Values.autoscaling.enabled -}}
{{- $nodes = .Values.autoscaling.maxReplicas | int -}}
{{- if not (or .Values.autoscaling.targetCPU .Values.autoscaling.targetConnections) -}}
{{- fail "autoscaling without a target: set autoscaling.targetCPU or autoscaling.targetConnections" -}}
{{- end -}}
{{- end -}}
{{- if and (gt $nodes 1) (not .Values.redis.existingSecret) -}}
{{- fail (printf "%d nodes without redis.existingSecret: they would not hear one another; set it, or run one node" $nodes) -}}
{{- end -}}
{{- if and (or .Values.orderWorkers.accounts .Values.orderWorkers.api.enabled) (not .Values.orderWorkers.existingSecret) -}}
{{- fail "orderWorkers without orderWorkers.existingSecret: expected a secret with DB_PASSWORD, ROSREESTR_CRYPTO_SECRET and what else is secret, by the names of the variables" -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- fail "ingress and httpRoute are both enabled: expected one of them" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the gateway" -}}
{{- end -}}
{{- end -}}
