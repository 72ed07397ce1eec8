// The sign-in page: email and password and, in demo mode, one click.
import { useEffect, useState } from 'preact/hooks';
import { explain, Problem } from '../api/client';
import type { Demo } from '../api/types';
import { t } from '../i18n';
import { demoAccounts, signIn } from '../session';
import { ErrorNote } from '../ui/bits';
import { Icon } from '../ui/Icon';
import { LanguageSwitch } from '../account/LanguageSwitch';
import { DemoCards } from './DemoCards';

export function SignIn() {
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [gym, setGym] = useState('');
  // Several accounts may have one email; the gym then tells which of them signs in.
  const [askGym, setAskGym] = useState<'required' | 'optional'>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const [demo, setDemo] = useState<Demo>();

  // In demo mode before the demo gym exists, there are no accounts to offer.
  useEffect(() => void demoAccounts().then((found) => setDemo(found?.accounts.length ? found : undefined)), []);

  const title = t().signIn;
  useEffect(() => {
    document.title = `${title} · liveplan`;
  }, [title]);

  async function enter(who: string, secret: string): Promise<void> {
    setBusy(true);
    setError(undefined);
    try {
      await signIn(who.trim(), secret, gym.trim() || undefined);
    } catch (failure) {
      if (failure instanceof Problem && failure.code === 'bad_credentials') setAskGym((asked) => asked ?? 'optional');
      if (failure instanceof Problem && failure.code === 'gym_required') {
        setAskGym('required');
        setEmail(who);
        setPassword(secret);
      }
      setError(explain(failure, t().noServer));
      setBusy(false);
    }
  }

  return (
    <main class={`signin${demo ? ' has-demo' : ''}`}>
      <section class="signin-card">
        <div class="brand brand-large"><Icon name="leaf" size={28} /><span>liveplan</span></div>
        <h1>{t().signInTitle}</h1>
        <p class="muted">{t().signInLead}</p>
        <form onSubmit={(event) => { event.preventDefault(); void enter(email, password); }}>
          <label class="field">
            <span>{t().email}</span>
            <input type="email" autocomplete="username" required value={email} data-testid="signin-email"
              onInput={(event) => setEmail(event.currentTarget.value)} />
          </label>
          <label class="field">
            <span>{t().password}</span>
            <input type="password" autocomplete="current-password" required value={password} data-testid="signin-password"
              onInput={(event) => setPassword(event.currentTarget.value)} />
          </label>
          {askGym && (
            <label class="field">
              <span>{askGym === 'required' ? t().gymSlug : t().gymOptional}</span>
              <input required={askGym === 'required'} value={gym} autocapitalize="none" data-testid="signin-gym"
                onInput={(event) => setGym(event.currentTarget.value)} />
            </label>
          )}
          <ErrorNote text={error} />
          <button class="button is-primary is-wide" disabled={busy} data-testid="signin-submit">
            {busy ? t().signingIn : t().signIn}
          </button>
        </form>
        <LanguageSwitch />
      </section>
      {demo && <DemoCards demo={demo} busy={busy} onPick={(account) => void enter(account.email, demo.password)} />}
    </main>
  );
}
