// Shared by the pages of one-time links.
import { useEffect, useState } from 'preact/hooks';
import { LanguageSwitch } from '../account/LanguageSwitch';
import { explain, open } from '../api/client';
import { t } from '../i18n';
import { href } from '../router';
import { ErrorNote, Skeleton } from '../ui/bits';
import { Icon } from '../ui/Icon';

/** What a link opens: undefined while it loads, or the sentence that explains why it does not open. */
export type Opening<T> = { opened?: T; problem?: string };

/** Asks the server what a link opens. `adopt` gets the answer before the page shows it. */
export function useLink<T>(path: string, secret: string, adopt?: (opened: T) => void): Opening<T> {
  const [opening, setOpening] = useState<Opening<T>>({});
  useEffect(() => {
    open<T>(path, { method: 'POST', body: { secret } }).then(
      (opened) => { adopt?.(opened); setOpening({ opened }); },
      (failure) => setOpening({ problem: explain(failure, t().noServer) }),
    );
  }, [path, secret]);
  return opening;
}

export function LinkFrame<T>({ title, of, children }: {
  title: string; of: Opening<T>; children: (opened: T) => preact.ComponentChildren;
}) {
  useEffect(() => {
    document.title = `${title} · liveplan`;
  }, [title]);
  return (
    <main class="signin" data-testid="link-page">
      <section class="signin-card">
        <div class="brand brand-large"><Icon name="leaf" size={28} /><span>liveplan</span></div>
        {of.opened ? children(of.opened) : <h1>{title}</h1>}
        {!of.opened && !of.problem && <Skeleton rows={3} />}
        <ErrorNote text={of.problem} />
        {of.problem && <a class="button" href={href('/')} data-testid="link-leave">{t().toSignIn}</a>}
        <LanguageSwitch />
      </section>
    </main>
  );
}

export function NewPassword({ label, value, onInput }: { label: string; value: string; onInput: (value: string) => void }) {
  return (
    <label class="field">
      <span>{label}</span>
      <input type="password" autocomplete="new-password" required minLength={8} maxLength={256} value={value}
        aria-describedby="password-hint" data-testid="new-password" onInput={(event) => onInput(event.currentTarget.value)} />
      <small class="muted" id="password-hint">{t().passwordHint}</small>
    </label>
  );
}
