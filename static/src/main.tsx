import { effect, untracked } from '@preact/signals';
import { render } from 'preact';
import './styles/index.css';
import { InvitationPage } from './claims/InvitationPage';
import { ResetPage } from './claims/ResetPage';
import { language, preferLanguage, t } from './i18n';
import { connect, disconnect, observers, refusals } from './live/connection';
import { route, startRouter } from './router';
import { me, startSession, unreachable } from './session';
import { Shell } from './Shell';
import { SignIn } from './signin/SignIn';
import { Skeleton } from './ui/bits';
import { Icon } from './ui/Icon';
import { announce, Notices, notify } from './ui/Notices';
import { slotName } from './ui/slot';
import { forgetFeed } from './wall/feed';

function App() {
  const who = me.value;
  const link = who === undefined ? undefined : linkPage(route.value);
  return (
    <>
      {who === undefined && <Starting />}
      {link}
      {!link && who === null && <SignIn />}
      {!link && who && <Shell key={who.account.id} />}
      <Notices />
    </>
  );
}

/** The page of a one-time link, which carries its secret in the fragment. */
function linkPage({ pathname, hash }: URL) {
  if (pathname === '/invitation') return <InvitationPage key={hash} secret={hash.slice(1)} />;
  if (pathname === '/reset') return <ResetPage key={hash} secret={hash.slice(1)} />;
  return undefined;
}

function Starting() {
  return (
    <main class="page starting">
      <div class="brand brand-large"><Icon name="leaf" size={28} /><span>liveplan</span></div>
      {unreachable.value ? <p role="alert">{t().noServerRetry}</p> : <Skeleton rows={3} tall />}
    </main>
  );
}

let account: string | undefined;
effect(() => {
  const who = me.value;
  if (who?.account.id === account) return;
  account = who?.account.id;
  untracked(() => {
    forgetFeed();
    if (!who) return disconnect();
    preferLanguage(who.account.locale);
    connect();
  });
});
effect(() => {
  document.documentElement.lang = language.value;
});

refusals.add((_command, message) => notify(message || t().refused, 'bad'));
observers.add((_channel, _entry, change, meals) => {
  if (meals.length === 0 || change.event?.actor === me.peek()?.account.id) return;
  announce(meals.map(({ meal }) => t().mealChanged(meal.title || slotName(meal.slot))).join('. '));
});

startRouter();
const root = document.getElementById('app');
if (root) render(<App />, root);
void startSession();
