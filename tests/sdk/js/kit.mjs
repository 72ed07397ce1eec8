// Shared by the scenarios: people, REST, a client of the official SDK, and a log of its events.
import { createInterface } from 'node:readline';
import { Centrifuge } from 'centrifuge';
import { WebSocket } from 'ws';

/** The input from the Rust test: the server's address, people, plans. */
export const given = JSON.parse(process.env.SCENARIO);

/** A person as a client of the REST API. */
export class Person {
  constructor(session) {
    this.session = session;
  }

  static async signedIn(email) {
    const nobody = new Person({});
    return new Person(await nobody.call('POST', '/auth/login', { email, password: given.password }));
  }

  get token() {
    return this.session.access_token;
  }

  /** Refreshes the session and returns the next access token. */
  async refresh() {
    this.session = await this.call('POST', '/auth/refresh', { refresh_token: this.session.refresh_token });
    return this.token;
  }

  async call(method, path, body, headers = {}) {
    const authorization = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    const response = await fetch(`http://${given.address}/api/v1${path}`, {
      method,
      headers: { 'Content-Type': 'application/json', ...authorization, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Changes the title of the plan's meal: one change of the plan. */
  async retitle(title) {
    const path = `/plans/${given.plan.id}/days/1/meals/${given.plan.meal}`;
    const written = await this.call('PATCH', path, { title }, { 'If-Match': `"${given.plan.version}"` });
    given.plan.version = written.version;
  }

  tick(status) {
    return this.call('PUT', `/meals/${given.plan.meal}/completions/${given.date}`, { status });
  }
}

/** Creates a client without connecting it. */
export function client({ address = given.address, ...options }) {
  return new Centrifuge(`ws://${address}/connection/websocket`, {
    websocket: WebSocket,
    minReconnectDelay: 50,
    maxReconnectDelay: 500,
    ...options,
  });
}

/** Logs the events of a client or a subscription, by name, in order. */
export function heard(emitter) {
  const log = {};
  for (const event of [
    'connecting', 'connected', 'disconnected', 'error', 'subscribing', 'subscribed', 'unsubscribed', 'publication',
  ]) {
    log[event] = [];
    emitter.on(event, (ctx) => log[event].push(ctx));
  }
  return log;
}

/** Polls a condition until it holds; `what` names what is awaited. */
export async function until(what, condition, within_ms = 15_000) {
  for (const end = Date.now() + within_ms; !condition(); ) {
    if (Date.now() > end) throw new Error(`timed out waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The title that a publication of the plan gives its meal. */
export function titleOf(publication) {
  const [day] = Object.values(publication.data.patch.days);
  return day.meals[given.plan.meal].title;
}

/** The lines that the Rust test writes. */
export const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Gives the Rust test a cue and waits until it has acted. */
export async function yourTurn(cue) {
  console.log(`cue ${cue}`);
  await lines.next();
}

/** Ends the scenario as passed. */
export function passed() {
  process.exit(0);
}
