// The list of signed-in devices, with a button to end each session, and the form for a new password.
import { useEffect, useState } from 'preact/hooks';
import { call, explain } from '../api/client';
import type { Page, SessionRow } from '../api/types';
import { dateTime } from '../format';
import { t } from '../i18n';
import { ErrorNote, Skeleton } from '../ui/bits';
import { Icon } from '../ui/Icon';
import { Password } from './Password';

/** Browser and system from a User-Agent header, or the header's first 40 characters if neither is recognised. */
function device(agent: string | undefined): string {
  if (!agent) return t().unknownDevice;
  const browser = /(Edg|OPR|Firefox|Chrome|Safari)\//.exec(agent)?.[1]?.replace('Edg', 'Edge').replace('OPR', 'Opera');
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1]?.replace('Mac OS X', 'macOS');
  return [browser, system].filter(Boolean).join(' · ') || agent.slice(0, 40);
}

export function Sessions() {
  const [rows, setRows] = useState<SessionRow[]>();
  const [error, setError] = useState<string>();

  function load(): void {
    call<Page<SessionRow>>('auth/sessions').then((page) => setRows(page.items), (failure) => setError(explain(failure, t().noServer)));
  }
  useEffect(load, []);

  async function end(id: string): Promise<void> {
    try {
      await call(`auth/sessions/${id}`, { method: 'DELETE' });
      setRows((all) => all?.filter((row) => row.id !== id));
    } catch (failure) {
      setError(explain(failure, t().noServer));
    }
  }

  return (
    <main class="page page-narrow" id="main">
      <h1>{t().sessions}</h1>
      <p class="muted">{t().sessionsLead}</p>
      <ErrorNote text={error} />
      {!rows && !error && <Skeleton />}
      <ul class="rows">
        {rows?.map((row) => (
          <li key={row.id} class="row">
            <span class="row-icon"><Icon name="device" /></span>
            <span class="row-text">
              <b>{device(row.user_agent)}</b>
              <span>{[row.ip_address, t().lastUsed(dateTime(row.last_used_at))].filter(Boolean).join(' · ')}</span>
            </span>
            {row.current
              ? <span class="chip is-good">{t().thisDevice}</span>
              : <button class="button is-small" onClick={() => void end(row.id)}>{t().endSession}</button>}
          </li>
        ))}
      </ul>
      <Password onChanged={load} />
    </main>
  );
}
