// The node that answers: how it is, and what it stands in touch with.

import { get, type History, type Node } from '../api';
import { useData } from '../data';
import { Card, Facts, Loaded, Page, State, Table } from '../parts/basics';
import { bytes, number, span, t } from '../words';

export function NodesPage() {
  const data = useData(async () => (await get<{ nodes: Node[] }>('/nodes')).nodes, [], 3);
  return (
    <Page title={t('nodes')}>
      <Loaded data={data}>{(nodes) => <>{nodes.map((node) => <NodeCard key={node.name} node={node} />)}</>}</Loaded>
      <p class="hint">{t('thisNodeOnly')}</p>
    </Page>
  );
}

function NodeCard({ node }: { node: Node }) {
  const share = node.connections / Math.max(node.max_connections, 1);
  return (
    <>
      <Card title={node.name}>
        <Facts
          facts={[
            [t('version'), node.version],
            [t('uptime'), span(node.uptime_seconds)],
            [t('state'), <State kind={node.is_draining ? 'soon' : 'good'}>{t(node.is_draining ? 'draining' : 'serving')}</State>],
            [t('engine'), engine(node)],
            [t('database'), database(node)],
          ]}
        />
        <div class="meter">
          <progress value={share} max={1} aria-label={t('connections')} />
          <p class="soft">{t('connectionsOf', { count: number(node.connections), limit: number(node.max_connections) })}</p>
        </div>
        {node.degraded && <p class="notice bad">{node.degraded}</p>}
      </Card>
      <HistoryCard history={node.history} />
      {node.adapters.length > 0 && (
        <Card title={t('adapters')}>
          <Table label={t('adapters')} head={[t('name'), t('state'), t('restarts'), t('problem')]}>
            {node.adapters.map((adapter) => (
              <tr key={adapter.name}>
                <td>{adapter.name}</td>
                <td>
                  <State kind={adapter.is_up ? 'good' : 'bad'}>{t(adapter.is_up ? 'up' : 'down')}</State>
                </td>
                <td>{number(adapter.restarts)}</td>
                <td>{adapter.problem}</td>
              </tr>
            ))}
          </Table>
        </Card>
      )}
      {node.figures.length > 0 && (
        <Card title={t('engineFigures')}>
          <Table label={t('engineFigures')} head={[t('name'), t('value'), t('meaning')]}>
            {node.figures.map((figure) => (
              <tr key={figure.name}>
                <td class="mono">{figure.name}</td>
                <td>{number(figure.value)}</td>
                <td>{figure.help}</td>
              </tr>
            ))}
          </Table>
        </Card>
      )}
    </>
  );
}

function HistoryCard({ history }: { history: History }) {
  return (
    <Card title={t('sessions')}>
      <Facts
        facts={[
          [t('sessionsConnected'), number(history.sessions_connected)],
          [t('sessionsWaiting'), `${number(history.sessions_waiting)} · ${bytes(history.session_bytes)}`],
          [t('sessionsDropped'), number(history.sessions_dropped)],
          [t('replays'), number(history.replays)],
          [t('replayedEvents'), number(history.replayed_events)],
          [t('gaps'), number(history.gaps)],
          [t('pastEvents'), `${bytes(history.bytes)} / ${bytes(history.max_bytes)}`],
          [t('evictedChannels'), number(history.evicted_channels)],
        ]}
      />
    </Card>
  );
}

function engine(node: Node) {
  if (!node.is_clustered) {
    return t('alone');
  }
  return <State kind={node.degraded ? 'bad' : 'good'}>{t(node.degraded ? 'outOfReach' : 'clustered')}</State>;
}

function database(node: Node) {
  if (node.database_is_up === undefined) {
    return t('none');
  }
  return <State kind={node.database_is_up ? 'good' : 'bad'}>{t(node.database_is_up ? 'up' : 'down')}</State>;
}
