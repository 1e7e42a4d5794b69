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
{{- if and .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- fail "ingress and httpRoute are both enabled: expected one of them" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the gateway" -}}
{{- end -}}
{{- end -}}
