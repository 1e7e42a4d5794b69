// The nodes of the deployment: how each is, and what it stands in touch with.

import { useState } from 'preact/hooks';

import { get, type History, type Node } from '../api';
import { useData } from '../data';
import { Card, Facts, Loaded, Page, State, Table, Unanswered } from '../parts/basics';
import { bytes, number, span, t } from '../words';

interface NodeList {
  nodes: Node[];
  unanswered: number;
}

export function NodesPage() {
  const data = useData(() => get<NodeList>('/nodes'), [], 3);
  const [chosen, setChosen] = useState<string>();
  return (
    <Page title={t('nodes')}>
      <Loaded data={data}>
        {({ nodes, unanswered }) => {
          const shown = nodes.find((node) => node.name === chosen) ?? nodes[0]!;
          return (
            <>
              <Unanswered count={unanswered} />
              {nodes.length > 1 && <AllNodes nodes={nodes} shown={shown} onChoose={setChosen} />}
              <NodeCards key={shown.name} node={shown} />
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

function AllNodes({ nodes, shown, onChoose }: { nodes: Node[]; shown: Node; onChoose: (name: string) => void }) {
  return (
    <Card>
      <Table isTight label={t('nodes')} head={[t('name'), t('state'), t('connections'), t('version'), t('uptime'), t('problem')]}>
        {nodes.map((node) => (
          <tr key={node.name}>
            <td>
              <button type="button" class="small" aria-pressed={node === shown} onClick={() => onChoose(node.name)}>
                {node.name}
              </button>
              {node.is_this && <span class="soft"> {t('thisNode')}</span>}
            </td>
            <td>
              <Serving node={node} />
            </td>
            <td>
              {number(node.connections)} / {number(node.max_connections)}
            </td>
            <td>{node.version}</td>
            <td>{span(node.uptime_seconds)}</td>
            <td>{problems(node).join('; ')}</td>
          </tr>
        ))}
      </Table>
    </Card>
  );
}

/** What an operator should know of a node before looking at it closely. */
function problems(node: Node): string[] {
  return [node.degraded, node.database_is_up === false && `${t('database')}: ${t('down')}`, ...node.adapters.filter((adapter) => !adapter.is_up || adapter.missing).map((adapter) => `${adapter.name}: ${(adapter.is_up && adapter.missing) || t('down')}`)].filter((text) => typeof text === 'string');
}

function Serving({ node }: { node: Node }) {
  return <State kind={node.is_draining ? 'soon' : 'good'}>{t(node.is_draining ? 'draining' : 'serving')}</State>;
}

function NodeCards({ node }: { node: Node }) {
  const share = node.connections / Math.max(node.max_connections, 1);
  return (
    <>
      <Card title={node.name}>
        <Facts
          facts={[
            [t('version'), node.version],
            [t('uptime'), span(node.uptime_seconds)],
            [t('state'), <Serving node={node} />],
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
                  <State kind={!adapter.is_up ? 'bad' : adapter.missing ? 'soon' : 'good'}>{t(adapter.is_up ? 'up' : 'down')}</State>
                </td>
                <td>{number(adapter.restarts)}</td>
                <td>{adapter.is_up ? adapter.missing : adapter.problem}</td>
              </tr>
            ))}
          </Table>
        </Card>
      )}
      {node.figures.length > 0 && (
        <Card title={t('engineFigures')}>
          <Table label={t('engineFigures')} head={[t('name'), t('value')]}>
            {node.figures.map((figure) => (
              <tr key={figure.name}>
                <td>
                  <span class="mono figure-name">{figure.name}</span>
                  <p class="hint">{figure.help}</p>
                </td>
                <td>{number(figure.value)}</td>
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
