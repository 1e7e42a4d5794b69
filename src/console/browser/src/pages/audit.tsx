// What was changed, and by whom.

import { useState } from 'preact/hooks';

import { type AuditEntry, get, query } from '../api';
import { useData } from '../data';
import { Card, Empty, Loaded, Page, Table } from '../parts/basics';
import { t, when } from '../words';
import { Pager } from './channels';

export function AuditPage() {
  const [after, setAfter] = useState<string[]>([]);
  const data = useData(() => get<{ entries: AuditEntry[]; next?: string }>('/audit' + query({ limit: 50, after: after.at(-1) })), [after], 5);
  return (
    <Page title={t('audit')}>
      <Loaded data={data}>
        {({ entries, next }) =>
          entries.length === 0 ? (
            <Empty>{t('noChanges')}</Empty>
          ) : (
            <Card>
              <Table label={t('audit')} head={[t('time'), t('what'), t('who'), t('address')]}>
                {entries.map((entry) => (
                  <tr key={entry.id}>
                    <td>
                      <time>{when(entry.at_ms)}</time>
                    </td>
                    <td>
                      <code>{entry.action}</code>
                      {entry.detail && <p class="mono soft">{entry.detail}</p>}
                    </td>
                    <td>{entry.actor}</td>
                    <td>{entry.address}</td>
                  </tr>
                ))}
              </Table>
              <Pager before={after} next={next} onMove={setAfter} />
            </Card>
          )
        }
      </Loaded>
    </Page>
  );
}
