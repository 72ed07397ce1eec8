// The signed-in person and their tokens.
//
// The access token is kept in memory only. The refresh token is kept in localStorage, where an injected script could
// read it, unlike an HttpOnly cookie. In return, the API needs no cookies and so no protection against CSRF, one
// sign-in serves all tabs, and a reload keeps it. The risk is limited by a strict Content-Security-Policy without
// inline or third-party scripts, by rotation of the token at every use with reuse detection on the server, and by
// sessions that people can see and end.
//
// The first use of a refreshed access token voids the refresh token before it. So the next refresh token is stored
// before anything uses the access token, and two tabs must never present the same token: a refresh takes a lock shared
// by all tabs, and reads the stored token while holding it. If an answer got lost, the stored token is still good.
import { computed, signal } from '@preact/signals';
import { call, open, Problem, useTokens } from './api/client';
import type { ClaimedAccount, Demo, Me, PlanStatus, Session } from './api/types';
import { forgetStored } from './storage';

const KEY = 'liveplan.session';
/** Secrets that this device got at its first sign-in to each account, by email. They outlive an expired session. */
const DEVICE = 'liveplan.device';

interface Stored { refresh_token: string; account_id: string }

/** Undefined during start-up, null if nobody is signed in. */
export const me = signal<Me | null | undefined>(undefined);
/** Whether the server could not be reached during start-up. */
export const unreachable = signal(false);
export const roles = computed(() => new Set(me.value?.roles ?? []));

/** Whether the signed-in person may change a plan. Mirrors the server's rule, so that no button leads to a refusal. */
export function mayEdit(plan: { author_id: string; status: PlanStatus }): boolean {
  const author = roles.value.has('trainer') && plan.author_id === me.value?.account.id;
  return plan.status !== 'archived' && (author || roles.value.has('manager') || roles.value.has('nutritionist'));
}

let access: { token: string; good_until: number; from: number } | undefined;
let refreshing: Promise<string> | undefined;

function read<T>(key: string): T | undefined {
  try {
    return JSON.parse(localStorage.getItem(key) ?? 'null') ?? undefined;
  } catch {
    return undefined;
  }
}

const stored = (): Stored | undefined => read<Stored>(KEY);
const deviceSecrets = (): Record<string, string> => read<Record<string, string>>(DEVICE) ?? {};

function adopt(session: Session): void {
  const { access_token, refresh_token, device_secret, token_type: _, expires_in, ...rest } = session;
  const now = Date.now();
  access = { token: access_token, from: now, good_until: now + Math.max(5, expires_in - 30) * 1000 };
  localStorage.setItem(KEY, JSON.stringify({ refresh_token, account_id: rest.account.id } satisfies Stored));
  if (device_secret) localStorage.setItem(DEVICE, JSON.stringify({ ...deviceSecrets(), [rest.account.email]: device_secret }));
  me.value = rest;
}

function forget(): void {
  access = undefined;
  me.value = null;
}

/** Runs one refresh at a time across tabs. Without Web Locks (insecure context) the limit holds for this tab only. */
function exclusive<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? navigator.locks.request('liveplan-refresh', work) as Promise<T> : work();
}

async function refresh(): Promise<string> {
  let token: string | undefined;
  refreshing ??= exclusive(async () => {
    token = stored()?.refresh_token;
    if (!token) throw new Problem(401, 'unauthenticated', '');
    const session = await open<Session>('auth/refresh', { method: 'POST', body: { refresh_token: token } });
    adopt(session);
    return session.access_token;
  })
    .catch((error: unknown) => {
      // Another session may have replaced the refused one meanwhile: an invitation was accepted.
      if (error instanceof Problem && error.status === 401 && stored()?.refresh_token === token) {
        localStorage.removeItem(KEY);
        forget();
      }
      throw error;
    })
    .finally(() => (refreshing = undefined));
  return refreshing;
}

/** The access token. `force` asks for a new one unless the current one is less than 5 s old. */
export async function accessToken(force = false): Promise<string> {
  const now = Date.now();
  if (access && (force ? now - access.from < 5000 : now < access.good_until)) return access.token;
  return refresh();
}

/** Asks the server for a new token, however young the current one is: it may have been revoked. */
export const renew = refresh;

/** Signs in. With the secret of an invitation, the account accepts it and signs in to its gym. */
export async function signIn(email: string, password: string, gym?: string, invitation?: string): Promise<void> {
  const device_secret = deviceSecrets()[email.trim().toLowerCase()];
  const body = {
    email, password, ...(gym ? { gym } : {}), ...(invitation ? { invitation } : {}), ...(device_secret ? { device_secret } : {}),
  };
  adopt(await open<Session>('auth/login', { method: 'POST', body }));
}

/** Accepts an invitation as the signed-in person, or with a new account, and signs in to its gym. */
export async function accept(secret: string, account?: ClaimedAccount): Promise<void> {
  const path = 'invitations/accept';
  adopt(account
    ? await open<Session>(path, { method: 'POST', body: { secret, account } })
    : await call<Session>(path, { method: 'POST', body: { secret } }));
}

/** Changes the password. The answer voids the stored refresh token, so no tab may refresh before it is here. */
export async function changePassword(current: string, wanted: string): Promise<void> {
  // Before the lock is held, since this may refresh.
  const token = await accessToken();
  await exclusive(async () => {
    const body = { current_password: current, new_password: wanted };
    adopt(await open<Session>('auth/password', { method: 'POST', body }, token));
  });
}

/**
 * Ends the session here and on the server, and removes everything that the app keeps in the browser, unsent commands
 * included. Offline, the server's session lasts until it expires.
 */
export async function signOut(): Promise<void> {
  await call('auth/logout', { method: 'POST' }).catch(() => undefined);
  // A refresh that is under way would store the session again.
  await refreshing?.catch(() => undefined);
  forgetStored();
  forget();
}

/** The demo's accounts; undefined outside demo mode. */
export async function demoAccounts(): Promise<Demo | undefined> {
  return open<Demo>('demo').catch(() => undefined);
}

export async function startSession(): Promise<void> {
  useTokens({ access: accessToken });
  addEventListener('storage', (event) => {
    if (event.key !== KEY && event.key !== null) return;
    const now = stored();
    if (!now) forget(); // signed out in another tab
    else if (!me.value) void refresh().catch(() => undefined); // signed in in another tab
    else if (now.account_id !== me.value.account.id) location.reload(); // another person signed in in another tab
  });
  if (!stored()) {
    me.value = null;
    return;
  }
  for (let attempt = 0; ; attempt += 1) {
    try {
      await refresh();
      break;
    } catch (error) {
      if (error instanceof Problem && error.status < 500) {
        if (error.status !== 401) forget();
        break;
      }
      unreachable.value = true;
      await new Promise((resolve) => setTimeout(resolve, Math.min(15_000, 1000 * 2 ** attempt)));
    }
  }
  unreachable.value = false;
}
