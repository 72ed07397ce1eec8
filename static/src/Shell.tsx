// The frame of every page for a signed-in person: header, destinations by role, connection state, page content.
import { computed } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { AccountMenu } from './account/AccountMenu';
import { ResetNotice } from './account/ResetNotice';
import { Sessions } from './account/Sessions';
import { DayPage, planName } from './day/DayPage';
import { t } from './i18n';
import { connection, pending } from './live/connection';
import { PeoplePage } from './people/PeoplePage';
import { PlanPage } from './plans/PlanPage';
import { PlansPage } from './plans/PlansPage';
import { href, navigate, route } from './router';
import { roles } from './session';
import { Icon, type IconName } from './ui/Icon';
import { WallPage } from './wall/WallPage';

interface Destination { to: string; label: 'navDay' | 'navWall' | 'navPlans' | 'navPeople'; icon: IconName }

const destinations = computed<Destination[]>(() => {
  const has = (...any: Parameters<typeof roles.value.has>[0][]): boolean => any.some((role) => roles.value.has(role));
  return [
    has('member') ? [{ to: '/', label: 'navDay', icon: 'day' } as const] : [],
    has('trainer', 'manager') ? [{ to: '/wall', label: 'navWall', icon: 'wall' } as const] : [],
    has('manager', 'owner') ? [{ to: '/people', label: 'navPeople', icon: 'people' } as const] : [],
    has('trainer', 'nutritionist', 'manager', 'owner') ? [{ to: '/plans', label: 'navPlans', icon: 'plans' } as const] : [],
  ].flat();
});

/** Whether a path belongs to a destination. */
const leads = (to: string, path: string): boolean => path === to || (to !== '/' && path.startsWith(`${to}/`));

function Page({ path }: { path: string }) {
  const plan = /^\/plans\/([^/]+)$/.exec(path)?.[1];
  if (plan) return <PlanPage key={plan} id={plan} />;
  if (path === '/wall') return <WallPage />;
  if (path === '/plans') return <PlansPage />;
  if (path === '/people') return <PeoplePage />;
  if (path === '/account') return <Sessions />;
  return <DayPage />;
}

export function Shell() {
  const path = route.value.pathname;
  const all = destinations.value;
  const here = all.find(({ to }) => leads(to, path));
  // A path that none of the person's roles may open redirects to their first destination: staff without a plan have no
  // day.
  const astray = here || path === '/account' ? undefined : (all[0]?.to ?? '/account');
  useEffect(() => {
    if (astray) navigate(astray, { replace: true });
  }, [astray]);
  const title = here ? t()[here.label] : t().sessions;
  useEffect(() => {
    document.title = `${title} · liveplan`;
  }, [title]);
  // After following a link whose element has gone, move the focus to the new page instead of leaving it on the body.
  const before = useRef(path);
  useEffect(() => {
    if (before.current === path) return;
    before.current = path;
    const main = document.getElementById('main');
    if (!main || document.activeElement !== document.body) return;
    main.tabIndex = -1;
    main.focus({ preventScroll: true });
  }, [path]);
  return (
    <div class={`shell${all.length > 1 ? ' has-tabs' : ''}`}>
      <a class="skip-link" href="#main">{t().skipToContent}</a>
      <header class="topbar">
        <a class="brand" href={href('/')}><Icon name="leaf" size={24} /><span>{planName.value ?? 'liveplan'}</span></a>
        {all.length > 1 && (
          <nav class="tabs" aria-label={t().navigation}>
            {all.map(({ to, label, icon }) => (
              <a key={to} href={href(to)} aria-current={leads(to, path) ? 'page' : undefined}>
                <Icon name={icon} /><span>{t()[label]}</span>
              </a>
            ))}
          </nav>
        )}
        <LiveDot />
        <AccountMenu />
      </header>
      <OfflineBanner />
      <ResetNotice />
      {astray ? null : <Page path={path} />}
    </div>
  );
}

function LiveDot() {
  const state = connection.value;
  return (
    <span class={`live-dot is-${state}`} data-testid="connection" data-state={state} title={t().connection[state]}>
      <span class="sr-only">{t().connection[state]}</span>
    </span>
  );
}

function OfflineBanner() {
  const waiting = pending.value.filter((command) => !command.done).length;
  return (
    <div class="offline" role="status" data-testid="offline">
      {connection.value === 'offline' && (
        <p><Icon name="offline" size={18} />{t().offline}{waiting > 0 && ` ${t().waiting(waiting)}`}</p>
      )}
    </div>
  );
}
