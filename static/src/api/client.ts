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

/** A call without credentials: sign-in, refresh, the demo's accounts. */
export async function open<T>(path: string, call: Call = {}, bearer?: string): Promise<T> {
  const headers: Record<string, string> = { 'Accept-Language': language.value };
  if (call.body !== undefined) headers['Content-Type'] = 'application/json';
  if (call.ifMatch !== undefined) headers['If-Match'] = `"${call.ifMatch}"`;
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const response = await fetch(path.startsWith('/') ? path : `/api/v1/${path}`, {
    method: call.method ?? 'GET',
    headers,
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
