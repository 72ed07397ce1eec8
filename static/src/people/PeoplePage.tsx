// The people of the gym: open invitations, staff, and then members; for owners and managers.
import { useEffect, useState } from 'preact/hooks';
import { call, explain, query } from '../api/client';
import type { Invitation, InvitationLink, Membership, Page, ResetLink } from '../api/types';
import { folded } from '../format';
import { t } from '../i18n';
import { me, roles as mine } from '../session';
import { Avatar, ErrorNote, Skeleton } from '../ui/bits';
import { Drawer } from '../ui/Drawer';
import { Icon } from '../ui/Icon';
import { notify } from '../ui/Notices';
import { Invitations } from './Invitations';
import { InviteForm } from './InviteForm';
import { LinkBox } from './LinkBox';
import { mayReset } from './rules';

/** Fetches a whole list, page by page. */
async function all<T>(path: string): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page: Page<T> = await call(`${path}${query({ limit: 200, cursor })}`);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}

const isTeam = (person: Membership): boolean => person.roles.some((role) => role !== 'member');

/** The drawer: the form of an invitation, or a link to pass on. */
type Shown = 'form' | { title: string; text: string; link: string; expires: string };

export function PeoplePage() {
  const [people, setPeople] = useState<Membership[]>();
  const [invitations, setInvitations] = useState<Invitation[]>([]);
  const [error, setError] = useState<string>();
  const [search, setSearch] = useState('');
  const [shown, setShown] = useState<Shown>();
  useEffect(() => {
    const failed = (failure: unknown): void => setError(explain(failure, t().noServer));
    void all<Membership>('memberships').then(setPeople, failed);
    void all<Invitation>('invitations').then(setInvitations, failed);
  }, []);

  function showInvitation(made: InvitationLink): void {
    const { link, ...invitation } = made;
    setInvitations((open) => [...open.filter(({ id }) => id !== invitation.id), invitation]);
    if (link) setShown({ title: t().inviteTitle, text: t().passOnInvitation(made.name), link, expires: made.expires_at });
  }

  function reset(person: Membership): void {
    void call<ResetLink>(`memberships/${person.account_id}/reset-link`, { method: 'POST' }).then(
      ({ link, expires_at }) => link && setShown({ title: t().resetLink, text: t().passOnReset(person.name), link, expires: expires_at }),
      (failure) => notify(explain(failure, t().noServer), 'bad'),
    );
  }

  const wanted = folded(search.trim());
  const matches = (who: { name: string; email: string }): boolean => folded(`${who.name} ${who.email}`).includes(wanted);
  const byName = (a: { name: string }, b: { name: string }): number => a.name.localeCompare(b.name);
  const found = (people ?? []).filter(matches).sort(byName);
  const invited = invitations.filter(matches).sort(byName);
  const groups = [
    { name: t().team, of: found.filter(isTeam) },
    { name: t().rolePlural.member, of: found.filter((person) => !isTeam(person)) },
  ].filter((group) => group.of.length > 0);
  return (
    <main class="page page-narrow" id="main">
      <header class="page-head is-wrapping">
        <div>
          <h1>{t().navPeople}</h1>
          {people && <p class="muted">{t().peopleCounts(people.filter(isTeam).length, people.filter((person) => !isTeam(person)).length)}</p>}
        </div>
        <button class="button is-primary" onClick={() => setShown('form')} data-testid="invite"><Icon name="plus" />{t().invite}</button>
        <label class="search">
          <Icon name="search" size={18} /><span class="sr-only">{t().searchPerson}</span>
          <input type="search" placeholder={t().searchPerson} value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        </label>
      </header>
      <ErrorNote text={error} />
      {!people && !error && <Skeleton rows={6} />}
      {invited.length > 0 && (
        <Invitations of={invited} onRenewed={showInvitation} onGone={(gone) => setInvitations((open) => open.filter(({ id }) => id !== gone))} />
      )}
      {groups.map(({ name, of }) => (
        <section key={name} class="people">
          <h2>{name}</h2>
          <ul class="rows">{of.map((person) => <Person key={person.account_id} of={person} onReset={() => reset(person)} />)}</ul>
        </section>
      ))}
      {people && groups.length === 0 && invited.length === 0 && <p class="muted nothing">{t().noPeople}</p>}
      {shown && (
        <Drawer label={shown === 'form' ? t().inviteTitle : shown.title} onClose={() => setShown(undefined)}
          title={<h2>{shown === 'form' ? t().inviteTitle : shown.title}</h2>}>
          {shown === 'form' ? <InviteForm onMade={showInvitation} /> : <LinkBox link={shown.link} expires={shown.expires} text={shown.text} />}
        </Drawer>
      )}
    </main>
  );
}

function Person({ of, onReset }: { of: Membership; onReset: () => void }) {
  const may = mayReset(mine.value, of) && of.account_id !== me.value?.account.id;
  return (
    <li class="row is-wrapping" data-testid={`person-${of.account_id}`}>
      <Avatar name={of.name} />
      <span class="row-text">
        <b>{of.name}</b>
        <span>{of.email}</span>
      </span>
      <span class="row-chips">
        {of.status !== 'active' && <span class="chip is-warn">{t().membership[of.status]}</span>}
        {of.roles.map((role) => <span key={role} class={`chip${role === 'member' ? '' : ' is-good'}`}>{t().role[role]}</span>)}
      </span>
      {may && (
        <span class="row-actions">
          <button class="button is-small" aria-label={t().resetLinkFor(of.name)} onClick={onReset} data-testid="reset-link">{t().resetLinkShort}</button>
        </span>
      )}
    </li>
  );
}
