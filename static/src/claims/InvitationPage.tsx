// The page of an invitation's link: join the gym as the signed-in person, with an account that one has, or with a new one.
import { useState } from 'preact/hooks';
import type { OpenedInvitation } from '../api/types';
import { explain, open } from '../api/client';
import { language, preferLanguage, t } from '../i18n';
import { connect, disconnect } from '../live/connection';
import { startOver } from '../router';
import { accept, accessToken, me, signIn } from '../session';
import { Avatar, ErrorNote } from '../ui/bits';
import { LinkFrame, NewPassword, useLink } from './frame';

type Way = 'new' | 'own';

export function InvitationPage({ secret }: { secret: string }) {
  const opening = useLink<OpenedInvitation>('invitations/open', secret, ({ locale }) => {
    if (!me.peek()) preferLanguage(locale);
  });
  return <LinkFrame title={t().invitation} of={opening}>{(opened) => <Invitation secret={secret} of={opened} />}</LinkFrame>;
}

function Invitation({ secret, of }: { secret: string; of: OpenedInvitation }) {
  const who = me.value;
  const [other, setOther] = useState(false);
  const [way, setWay] = useState<Way>('new');
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  async function join(work: () => Promise<void>): Promise<void> {
    setBusy(true);
    setError(undefined);
    // The server ends the session that the new one replaces. The socket must not take that for a sign-out.
    disconnect();
    const before = who && other ? await accessToken().catch(() => undefined) : undefined;
    try {
      await work();
    } catch (failure) {
      setError(explain(failure, t().noServer));
      setBusy(false);
      if (who) connect();
      return;
    }
    // Somebody else was signed in on this device.
    if (before) await open('auth/logout', { method: 'POST' }, before).catch(() => undefined);
    startOver();
  }

  return (
    <>
      <h1>{t().invitationTo(of.gym.name)}</h1>
      <p class="muted">{t().invitationAs(of.roles.map((role) => t().role[role]).join(', '))} {t().gymSees}</p>
      {who && !other ? (
        <div class="claim-own">
          <div class="claim-who">
            <Avatar name={who.account.name} />
            <span class="row-text"><b>{who.account.name}</b><span>{who.account.email}</span></span>
          </div>
          <ErrorNote text={error} />
          <button class="button is-primary is-wide" disabled={busy} data-testid="claim-join" onClick={() => void join(() => accept(secret))}>
            {t().joinAs(who.account.name)}
          </button>
          <button class="button is-quiet is-wide" data-testid="claim-other" onClick={() => { setOther(true); setError(undefined); }}>
            {t().otherAccount}
          </button>
        </div>
      ) : (
        <>
          <div class="segments" role="group" aria-label={t().whichAccount}>
            {(['new', 'own'] as const).map((one) => (
              <button key={one} type="button" aria-pressed={way === one} data-testid={`claim-${one}`}
                onClick={() => { setWay(one); setError(undefined); }}>
                {t().claimWay[one]}
              </button>
            ))}
          </div>
          {way === 'new'
            ? <NewAccount of={of} busy={busy} error={error} onJoin={(account) => void join(() => accept(secret, account))} />
            : <OwnAccount of={of} busy={busy} error={error}
                onJoin={(email, password, gym) => void join(() => signIn(email, password, gym, secret))} />}
        </>
      )}
    </>
  );
}

interface FormProps { of: OpenedInvitation; busy: boolean; error: string | undefined }

function NewAccount({ of, busy, error, onJoin }: FormProps & {
  onJoin: (account: { name: string; email: string; password: string; locale: 'es' | 'en' }) => void;
}) {
  const [name, setName] = useState(of.name);
  const [email, setEmail] = useState(of.email);
  const [password, setPassword] = useState('');
  return (
    <form onSubmit={(event) => { event.preventDefault(); onJoin({ name: name.trim(), email: email.trim(), password, locale: language.value }); }}>
      <label class="field">
        <span>{t().yourName}</span>
        <input autocomplete="name" required maxLength={200} value={name} data-testid="claim-name"
          onInput={(event) => setName(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>{t().email}</span>
        <input type="email" autocomplete="username" required value={email} aria-describedby="email-hint" data-testid="claim-email"
          onInput={(event) => setEmail(event.currentTarget.value)} />
        <small class="muted" id="email-hint">{t().emailHint}</small>
      </label>
      <NewPassword label={t().password} value={password} onInput={setPassword} />
      <ErrorNote text={error} />
      <button class="button is-primary is-wide" disabled={busy} data-testid="claim-submit">{t().createAndJoin}</button>
    </form>
  );
}

function OwnAccount({ of, busy, error, onJoin }: FormProps & {
  onJoin: (email: string, password: string, gym: string | undefined) => void;
}) {
  const [email, setEmail] = useState(of.email);
  const [password, setPassword] = useState('');
  const [gym, setGym] = useState('');
  return (
    <form onSubmit={(event) => { event.preventDefault(); onJoin(email.trim(), password, gym.trim() || undefined); }}>
      <label class="field">
        <span>{t().email}</span>
        <input type="email" autocomplete="username" required value={email} data-testid="claim-email"
          onInput={(event) => setEmail(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>{t().password}</span>
        <input type="password" autocomplete="current-password" required value={password} data-testid="claim-password"
          onInput={(event) => setPassword(event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>{t().gymOptional}</span>
        <input value={gym} autocapitalize="none" aria-describedby="gym-hint" data-testid="claim-gym"
          onInput={(event) => setGym(event.currentTarget.value)} />
        <small class="muted" id="gym-hint">{t().gymHint}</small>
      </label>
      <ErrorNote text={error} />
      <button class="button is-primary is-wide" disabled={busy} data-testid="claim-submit">{t().signInAndJoin}</button>
    </form>
  );
}
