// Where clients and back ends reach the server that this page came from.

import { get, type Node } from './api';
import { useData } from './data';
import type { Place } from './snippets';

export function useServer(): Place {
  const nodes = useData(() => get<{ nodes: Node[] }>('/nodes'), []);
  const isTls = location.protocol === 'https:';
  const own = Number(location.port) || (isTls ? 443 : 80);
  const node = nodes.value?.nodes.find(({ is_this }) => is_this);
  // The console may have been opened on the port of the metrics.
  const port = node && own === node.metrics_port ? node.client_port : own;
  return { host: location.hostname, port, isTls };
}
