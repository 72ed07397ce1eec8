// The page of a link that sets a new password.
import { useState } from 'preact/hooks';
import { explain, open } from '../api/client';
import type { OpenedReset } from '../api/types';
import { t } from '../i18n';
import { startOver } from '../router';
import { signIn } from '../session';
import { ErrorNote } from '../ui/bits';
import { LinkFrame, NewPassword, useLink } from './frame';

export function ResetPage({ secret }: { secret: string }) {
  const opening = useLink<OpenedReset>('auth/reset/open', secret);
  return <LinkFrame title={t().newPassword} of={opening}>{(opened) => <Reset secret={secret} of={opened} />}</LinkFrame>;
}

function Reset({ secret, of }: { secret: string; of: OpenedReset }) {
  const [password, setPassword] = useState('');
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  async function save(): Promise<void> {
    setBusy(true);
    setError(undefined);
    try {
      await open('auth/reset', { method: 'POST', body: { secret, new_password: password } });
    } catch (failure) {
      setError(explain(failure, t().noServer));
      setBusy(false);
      return;
    }
    // Without an active membership the new password is set, and the sign-in page explains the rest.
    await signIn(of.email, password, of.gym.slug).catch(() => undefined);
    startOver();
  }

  return (
    <>
      <h1>{t().newPassword}</h1>
      <p class="muted">{t().resetFor(of.name, of.gym.name)}</p>
      <form onSubmit={(event) => { event.preventDefault(); void save(); }}>
        <label class="field">
          <span>{t().email}</span>
          <input type="email" autocomplete="username" readOnly value={of.email} data-testid="reset-email" />
        </label>
        <NewPassword label={t().newPassword} value={password} onInput={setPassword} />
        <p class="muted">{t().resetEnds}</p>
        <ErrorNote text={error} />
        <button class="button is-primary is-wide" disabled={busy} data-testid="reset-submit">{t().setPassword}</button>
      </form>
    </>
  );
}
