// The only way to call the REST API: bearer token, language, errors as `Problem`, and one retry after a silent refresh.
import { language } from '../i18n';

/** An RFC 9457 problem; `detail` is a sentence for the user, in the user's language. */
export class Problem extends Error {
  constructor(readonly status: number, readonly code: string, readonly detail: string) {
    super(detail);
  }
}

export interface Tokens {
  /** The access token, refreshed if it expires soon or, with `force`, in any case. */
  access(force?: boolean): Promise<string>;
}

export interface Call {
  method?: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  body?: unknown;
  ifMatch?: number;
  signal?: AbortSignal;
}

let tokens: Tokens | undefined;
export function useTokens(source: Tokens): void {
  tokens = source;
}

async function problem(response: Response): Promise<Problem> {
  const body = (await response.json().catch(() => ({}))) as { code?: string; detail?: string; title?: string };
  return new Problem(response.status, body.code ?? 'unknown', body.detail ?? body.title ?? `HTTP ${response.status}`);
}

/**
 * The address of a path of the API, or of a URL that the server named. Refuses whatever is not below `/api/` of the own
 * origin, so that no answer of the server can direct a token elsewhere.
 */
export function address(path: string, origin: string): string {
  const url = new URL(path.startsWith('/') ? path : `/api/v1/${path}`, origin);
  if (url.origin !== origin || !url.pathname.startsWith('/api/')) throw new Problem(0, 'foreign_address', '');
  return url.href;
}

/** A call without credentials: sign-in, refresh, the demo's accounts. */
export async function open<T>(path: string, call: Call = {}, bearer?: string): Promise<T> {
  const headers: Record<string, string> = { 'Accept-Language': language.value };
  if (call.body !== undefined) headers['Content-Type'] = 'application/json';
  if (call.ifMatch !== undefined) headers['If-Match'] = `"${call.ifMatch}"`;
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const response = await fetch(address(path, location.origin), {
    method: call.method ?? 'GET',
    headers,
    // Nothing of a person stays in the browser's cache, and no redirect is followed with the token.
    cache: 'no-store',
    redirect: 'error',
    body: call.body === undefined ? undefined : JSON.stringify(call.body),
    signal: call.signal,
  });
  if (!response.ok) throw await problem(response);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** A call as the signed-in person. */
export async function call<T>(path: string, options: Call = {}): Promise<T> {
  if (!tokens) throw new Problem(401, 'unauthenticated', '');
  try {
    return await open<T>(path, options, await tokens.access());
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401 || error.code === 'session_ended') throw error;
    return open<T>(path, options, await tokens.access(true));
  }
}

/** A query string such as `?a=1&b=2`, without empty parameters. */
export function query(params: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(params).filter(([, value]) => value !== undefined && value !== '');
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : '';
}

/** The sentence that explains a failure to the user. */
export function explain(error: unknown, fallback: string): string {
  return error instanceof Problem && error.detail ? error.detail : fallback;
}
