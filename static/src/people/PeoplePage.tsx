// The people of the gym, staff first and then members; for owners and managers.
import { useEffect, useState } from 'preact/hooks';
import { call, explain, query } from '../api/client';
import type { Membership, Page } from '../api/types';
import { folded } from '../format';
import { t } from '../i18n';
import { Avatar, ErrorNote, Skeleton } from '../ui/bits';
import { Icon } from '../ui/Icon';

/** Fetches all memberships, page by page. */
async function everybody(): Promise<Membership[]> {
  const people: Membership[] = [];
  let cursor: string | undefined;
  do {
    const page: Page<Membership> = await call(`memberships${query({ limit: 200, cursor })}`);
    people.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return people;
}

const isTeam = (person: Membership): boolean => person.roles.some((role) => role !== 'member');

export function PeoplePage() {
  const [people, setPeople] = useState<Membership[]>();
  const [error, setError] = useState<string>();
  const [search, setSearch] = useState('');
  useEffect(() => void everybody().then(setPeople, (failure) => setError(explain(failure, t().noServer))), []);

  const wanted = folded(search.trim());
  const found = (people ?? [])
    .filter((person) => folded(`${person.name} ${person.email}`).includes(wanted))
    .sort((a, b) => a.name.localeCompare(b.name));
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
        <label class="search">
          <Icon name="search" size={18} /><span class="sr-only">{t().searchPerson}</span>
          <input type="search" placeholder={t().searchPerson} value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        </label>
      </header>
      <ErrorNote text={error} />
      {!people && !error && <Skeleton rows={6} />}
      {groups.map(({ name, of }) => (
        <section key={name} class="people">
          <h2>{name}</h2>
          <ul class="rows">{of.map((person) => <Person key={person.account_id} of={person} />)}</ul>
        </section>
      ))}
      {people && groups.length === 0 && <p class="muted nothing">{t().noPeople}</p>}
    </main>
  );
}

function Person({ of }: { of: Membership }) {
  return (
    <li class="row" data-testid={`person-${of.account_id}`}>
      <Avatar name={of.name} />
      <span class="row-text">
        <b>{of.name}</b>
        <span>{of.email}</span>
      </span>
      <span class="row-chips">
        {of.status !== 'active' && <span class="chip is-warn">{t().membership[of.status]}</span>}
        {of.roles.map((role) => <span key={role} class={`chip${role === 'member' ? '' : ' is-good'}`}>{t().role[role]}</span>)}
      </span>
    </li>
  );
}
