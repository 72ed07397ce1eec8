// The form that changes the password. The other sessions of the account end with it.
import { useState } from 'preact/hooks';
import { explain } from '../api/client';
import { t } from '../i18n';
import { changePassword, me } from '../session';
import { ErrorNote } from '../ui/bits';
import { notify } from '../ui/Notices';

export function Password({ onChanged }: { onChanged: () => void }) {
  const [current, setCurrent] = useState('');
  const [wanted, setWanted] = useState('');
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  async function change(): Promise<void> {
    setBusy(true);
    setError(undefined);
    try {
      await changePassword(current, wanted);
      setCurrent('');
      setWanted('');
      notify(t().passwordChanged);
      onChanged();
    } catch (failure) {
      setError(explain(failure, t().noServer));
    } finally {
      setBusy(false);
    }
  }

  return (
    <section class="password" aria-labelledby="password-title">
      <h2 id="password-title">{t().changePassword}</h2>
      <p class="muted">{t().changePasswordLead}</p>
      <form onSubmit={(event) => { event.preventDefault(); void change(); }}>
        {/* For password managers, which store the new password under this name. */}
        <input type="email" autocomplete="username" value={me.value?.account.email} readOnly hidden />
        <label class="field">
          <span>{t().currentPassword}</span>
          <input type="password" autocomplete="current-password" required value={current} data-testid="password-current"
            onInput={(event) => setCurrent(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span>{t().wantedPassword}</span>
          <input type="password" autocomplete="new-password" required minLength={8} maxLength={256} value={wanted}
            data-testid="password-new" onInput={(event) => setWanted(event.currentTarget.value)} />
        </label>
        <ErrorNote text={error} />
        <button class="button is-primary" disabled={busy} data-testid="password-save">{t().changePassword}</button>
      </form>
    </section>
  );
}
