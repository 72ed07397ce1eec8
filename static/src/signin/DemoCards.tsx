// Demo mode: the accounts to try, by role, the most telling role first.
import type { Demo, Role } from '../api/types';
import { t } from '../i18n';
import { Avatar } from '../ui/bits';

const order: Role[] = ['member', 'trainer', 'nutritionist', 'manager', 'owner', 'auditor'];
type DemoAccount = Demo['accounts'][number];

/** The role that says most about an account. */
function leading(account: DemoAccount): Role {
  const ranked: Role[] = ['trainer', 'nutritionist', 'manager', 'owner', 'auditor', 'member'];
  return ranked.find((role) => account.roles.includes(role)) ?? 'member';
}

export function DemoCards({ demo, busy, onPick }: { demo: Demo; busy: boolean; onPick: (account: DemoAccount) => void }) {
  const groups = order
    .map((role) => ({ role, accounts: demo.accounts.filter((account) => leading(account) === role) }))
    .filter((group) => group.accounts.length > 0);
  return (
    <section class="demo" aria-labelledby="demo-title">
      <h2 id="demo-title">{t().demoTitle}</h2>
      <p class="muted">{t().demoLead}</p>
      {groups.map(({ role, accounts }) => (
        <div key={role} class="demo-group">
          <h3>{t().rolePlural[role]}</h3>
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
