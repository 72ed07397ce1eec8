// The form that invites a person.
import { useState } from 'preact/hooks';
import { call, explain } from '../api/client';
import type { InvitationLink, Role } from '../api/types';
import { chooseable } from '../account/LanguageSwitch';
import { language, type Language, t } from '../i18n';
import { roles as mine } from '../session';
import { ErrorNote } from '../ui/bits';
import { mayInviteAs } from './rules';

export function InviteForm({ onMade }: { onMade: (made: InvitationLink) => void }) {
  const [name, setName] = useState('');
  const [email, setEmail] = useState('');
  const [roles, setRoles] = useState<Role[]>(['member']);
  const [locale, setLocale] = useState<Language>(language.value);
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  async function invite(): Promise<void> {
    if (roles.length === 0) return setError(t().chooseRole);
    setBusy(true);
    setError(undefined);
    try {
      onMade(await call<InvitationLink>('invitations', { method: 'POST', body: { name: name.trim(), email: email.trim(), roles, locale } }));
    } catch (failure) {
      setError(explain(failure, t().noServer));
      setBusy(false);
    }
  }

  const toggle = (role: Role): void => setRoles((all) => (all.includes(role) ? all.filter((one) => one !== role) : [...all, role]));
  return (
    <form class="invite" onSubmit={(event) => { event.preventDefault(); void invite(); }}>
      <p class="muted">{t().inviteLead}</p>
      <label class="field">
        <span>{t().name}</span>
        <input required maxLength={200} autocomplete="off" value={name} data-testid="invite-name"
          onInput={(event) => setName(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>{t().email}</span>
        <input type="email" required autocomplete="off" value={email} data-testid="invite-email"
          onInput={(event) => setEmail(event.currentTarget.value)} />
      </label>
      <fieldset class="checks">
        <legend>{t().roles}</legend>
        {mayInviteAs(mine.value).map((role) => (
          <label key={role} class="check">
            <input type="checkbox" checked={roles.includes(role)} onChange={() => toggle(role)} data-testid={`invite-${role}`} />
            <span>{t().role[role]}</span>
          </label>
        ))}
      </fieldset>
      <label class="field">
        <span>{t().theirLanguage}</span>
        <select value={locale} onChange={(event) => setLocale(event.currentTarget.value as Language)} data-testid="invite-language">
          {chooseable.map(({ code, name: text }) => <option key={code} value={code} lang={code}>{text}</option>)}
        </select>
      </label>
      <ErrorNote text={error} />
      <button class="button is-primary" disabled={busy} data-testid="invite-submit">{t().makeLink}</button>
    </form>
  );
}
