// Demo mode: cards of accounts to sign in with, grouped by role.
import type { Demo, DemoAccount, Role } from '../api/types';
import { t } from '../i18n';
import { Avatar } from '../ui/bits';


/** The most characteristic role of an account. */
function leading(account: DemoAccount): Role {
  const ranked: Role[] = ['trainer', 'nutritionist', 'manager', 'owner', 'auditor', 'member'];
  return ranked.find((role) => account.roles.includes(role)) ?? 'member';
}

export function DemoCards({ demo, busy, onPick }: { demo: Demo; busy: boolean; onPick: (account: DemoAccount) => void }) {
  const of = (...any: Role[]): DemoAccount[] =>
    any.flatMap((role) => demo.accounts.filter((account) => leading(account) === role));
  const groups = [
    { name: t().rolePlural.member, accounts: of('member') },
    { name: t().rolePlural.trainer, accounts: of('trainer') },
    { name: t().team, accounts: of('nutritionist', 'manager', 'owner', 'auditor') },
  ].filter((group) => group.accounts.length > 0);
  return (
    <section class="demo" aria-labelledby="demo-title">
      <h2 id="demo-title">{t().demoTitle}</h2>
      <p class="muted">{t().demoLead}</p>
      {groups.map(({ name, accounts }) => (
        <div key={name} class="demo-group">
          <h3>{name}</h3>
          <ul>
            {accounts.map((account) => (
              <li key={account.email}>
                <button class="demo-card" disabled={busy} onClick={() => onPick(account)}
                  data-testid={`demo-${account.email.split('@')[0]}`}>
                  <Avatar name={account.name} />
                  <span class="demo-name"><b>{account.name}</b><span>{account.roles.map((r) => t().role[r]).join(' · ')}</span></span>
                </button>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </section>
  );
}
