// The URL as a signal. Paths are relative to the app's base: '/', '/wall', '/plans', '/plans/<id>', '/account',
// '/invitation#<secret>', '/reset#<secret>'.
import { signal } from '@preact/signals';

const base = import.meta.env.BASE_URL.replace(/\/$/, '');

function current(): URL {
  const url = new URL(location.href);
  url.pathname = url.pathname.startsWith(base) ? url.pathname.slice(base.length) || '/' : '/';
  return url;
}

export const route = signal(current());

export function href(to: string): string {
  return base + to;
}

/** Navigates within the app. With `replace`, the Back button skips the current page. */
export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (options.replace) history.replaceState(null, '', href(to));
  else history.pushState(null, '', href(to));
  route.value = current();
  if (!options.replace) scrollTo(0, 0);
}

/** Handles plain left clicks on links within the app; leaves all other clicks to the browser. */
function onClick(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const anchor = (event.target as Element).closest<HTMLAnchorElement>('a[href]');
  if (!anchor || anchor.target || anchor.origin !== location.origin || !anchor.pathname.startsWith(base + '/')) return;
  event.preventDefault();
  navigate(anchor.pathname.slice(base.length) + anchor.search);
}

/** Leaves the page of a one-time link, whose secret is used up: loads the app again, as whoever is signed in now. */
export function startOver(): void {
  location.replace(href('/'));
}

export function startRouter(): void {
  addEventListener('popstate', () => (route.value = current()));
  document.addEventListener('click', onClick);
}
