// Who is signed in, and the tokens.
//
// The access token lives in memory only. The refresh token lives in localStorage: a cookie would be out of reach of a
// script that got into the page, localStorage is not. In return the API stays free of cookies (so of CSRF), one sign-in
// serves all tabs, and a reload keeps it. What limits the damage: a strict Content-Security-Policy with no inline and no
// third-party script, rotation of the token at every use with reuse detection on the server, and sessions that a person
// can see and end.
//
// Rotation means that two tabs must never present the same token: refreshing happens under a lock shared by all tabs, and
// reads the stored token inside it.
import { computed, signal } from '@preact/signals';
import { call, open, Problem, useTokens } from './api/client';
import type { Demo, Me, PlanStatus, Session } from './api/types';

const KEY = 'liveplan.session';

interface Stored { refresh_token: string; account_id: string }

/** Undefined while starting, null when nobody is signed in. */
export const me = signal<Me | null | undefined>(undefined);
/** The server could not be reached while starting. */
export const unreachable = signal(false);
export const roles = computed(() => new Set(me.value?.roles ?? []));

/** Whether who is signed in may change a plan: as the server decides it, so that no button leads to a refusal. */
export function mayEdit(plan: { author_id: string; status: PlanStatus }): boolean {
  const author = roles.value.has('trainer') && plan.author_id === me.value?.account.id;
  return plan.status !== 'archived' && (author || roles.value.has('manager') || roles.value.has('nutritionist'));
}

let access: { token: string; good_until: number; from: number } | undefined;
let refreshing: Promise<string> | undefined;

function stored(): Stored | undefined {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? 'null') ?? undefined;
  } catch {
    return undefined;
  }
}

function adopt(session: Session): void {
  const { access_token, refresh_token, token_type: _, expires_in, ...rest } = session;
  const now = Date.now();
  access = { token: access_token, from: now, good_until: now + Math.max(5, expires_in - 30) * 1000 };
  localStorage.setItem(KEY, JSON.stringify({ refresh_token, account_id: rest.account.id } satisfies Stored));
  me.value = rest;
}

function forget(): void {
  access = undefined;
  me.value = null;
}

/** One tab at a time. Without Web Locks (no secure context) only this tab is kept in order. */
function exclusive<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? navigator.locks.request('liveplan-refresh', work) as Promise<T> : work();
}

async function refresh(): Promise<string> {
  refreshing ??= exclusive(async () => {
    const token = stored()?.refresh_token;
    if (!token) throw new Problem(401, 'unauthenticated', '');
    const session = await open<Session>('auth/refresh', { method: 'POST', body: { refresh_token: token } });
    adopt(session);
    return session.access_token;
  })
    .catch((error: unknown) => {
      if (error instanceof Problem && error.status === 401) {
        localStorage.removeItem(KEY);
        forget();
      }
      throw error;
    })
    .finally(() => (refreshing = undefined));
  return refreshing;
}

/** The access token. `force` asks for a new one, unless the one at hand is only seconds old. */
export async function accessToken(force = false): Promise<string> {
  const now = Date.now();
  if (access && (force ? now - access.from < 5000 : now < access.good_until)) return access.token;
  return refresh();
}

/** Asks the server anew, however young the token at hand is: it may have been taken back. */
export const renew = refresh;

export async function signIn(email: string, password: string, gym?: string): Promise<void> {
  adopt(await open<Session>('auth/login', { method: 'POST', body: { email, password, ...(gym ? { gym } : {}) } }));
}

/** Ends the session here and on the server. Without network, the server's part is left to the token's expiry. */
export async function signOut(): Promise<void> {
  await call('auth/logout', { method: 'POST' }).catch(() => undefined);
  localStorage.removeItem(KEY);
  forget();
}

/** The demo's accounts, or nothing outside demo mode. */
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
    else if (now.account_id !== me.value.account.id) location.reload(); // as somebody else
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
