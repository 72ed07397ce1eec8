// Open invitations, with buttons to make a new link and to revoke.
import { explain, call } from '../api/client';
import type { Invitation, InvitationLink } from '../api/types';
import { dateTime } from '../format';
import { t } from '../i18n';
import { roles as mine } from '../session';
import { Avatar } from '../ui/bits';
import { notify } from '../ui/Notices';
import { mayManage } from './rules';

interface InvitationsProps {
  of: Invitation[];
  onRenewed: (renewed: InvitationLink) => void;
  onGone: (id: string) => void;
}

export function Invitations({ of, onRenewed, onGone }: InvitationsProps) {
  const failed = (failure: unknown): void => notify(explain(failure, t().noServer), 'bad');
  const renew = (id: string): void =>
    void call<InvitationLink>(`invitations/${id}/renew`, { method: 'POST' }).then(onRenewed, failed);
  const revoke = (id: string): void =>
    void call(`invitations/${id}`, { method: 'DELETE' }).then(() => onGone(id), failed);
  return (
    <section class="people">
      <h2>{t().invitations}</h2>
      <ul class="rows">
        {of.map(({ id, name, email, roles, expires_at }) => {
          const over = Date.parse(expires_at) <= Date.now();
          return (
            <li key={id} class="row is-wrapping" data-testid={`invitation-${id}`}>
              <Avatar name={name} />
              <span class="row-text">
                <b>{name}</b>
                <span>{email}</span>
                <span>{over ? t().expired : t().expires(dateTime(expires_at))}</span>
              </span>
              <span class="row-chips">
                {over && <span class="chip is-warn">{t().expired}</span>}
                {roles.map((role) => <span key={role} class={`chip${role === 'member' ? '' : ' is-good'}`}>{t().role[role]}</span>)}
              </span>
              {mayManage(mine.value, roles) && (
                <span class="row-actions">
                  <button class="button is-small" aria-label={t().newLinkFor(name)} onClick={() => renew(id)} data-testid="invitation-renew">{t().newLink}</button>
                  <button class="button is-small" aria-label={t().revokeFor(name)} onClick={() => revoke(id)} data-testid="invitation-revoke">{t().revoke}</button>
                </span>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}
