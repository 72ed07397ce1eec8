// Shared by the tests: the real binary with its own demo gym in a temporary directory, a connection to it that can be
// cut, Chromium, and common steps.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const BINARY = process.env.LIVEPLAN ?? fileURLToPath(new URL('../../target/debug/liveplan', import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Waits until `check` returns a truthy value, and returns it. */
export async function until(what, check, within_ms = 15_000) {
  const end = Date.now() + within_ms;
  for (;;) {
    const got = await check();
    if (got) return got;
    if (Date.now() > end) throw new Error(`waited ${within_ms} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export class Server {
  #directory;
  #process;
  port = 0;

  /** Starts the server; a `mode` other than `demo` runs on the demo's database. */
  async start(mode = 'demo') {
    this.#directory ??= await mkdtemp(join(tmpdir(), 'liveplan-web-'));
    // If root starts the binary, Postgres runs as another user, who must be able to enter this directory.
    await chmod(this.#directory, 0o755);
    const data = join(this.#directory, 'data');
    const env = { ...process.env, BIND: `127.0.0.1:${this.port}`, DATA_DIR: mode === 'demo' ? data : join(data, 'demo'), DRAIN_SECONDS: '1' };
    for (const name of ['DATABASE_URL', 'DATABASE_OWNER_URL', 'REDIS_URL']) delete env[name];
    this.#process = spawn(BINARY, [mode], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    this.#process.stderr.on('data', (chunk) => (log = (log + chunk).slice(-4000)));
    const ended = once(this.#process, 'exit').then(([code]) => { throw new Error(`the server ended with ${code}\n${log}`); });
    ended.catch(() => {});
    if (mode === 'demo') {
      // The last line of the output has the address.
      const said = await Promise.race([ended, once(createInterface({ input: this.#process.stdout }), 'line')]);
      this.port = Number(/http:\/\/localhost:(\d+)$/.exec(said[0])?.[1]);
    }
    await Promise.race([ended, until('the server is ready', () => fetch(`${this.url}/readyz`).then((r) => r.ok, () => false), 60_000)]);
  }

  get url() {
    return `http://localhost:${this.port}`;
  }

  async stop(signal = 'SIGTERM') {
    if (!this.#process || this.#process.exitCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await ended;
  }

  async clear() {
    await this.stop();
    if (this.#directory) await rm(this.#directory, { recursive: true, force: true });
  }
}

/** A connection to the server, as a phone has one. While it is cut, nothing passes. */
export class Line {
  #sockets = new Set();
  #listener;
  #cut = false;

  async open(server) {
    this.#listener = net.createServer((near) => {
      if (this.#cut) return near.destroy();
      const far = net.connect(server.port, '127.0.0.1');
      for (const [one, other] of [[near, far], [far, near]]) {
        this.#sockets.add(one);
        one.pipe(other);
        one.on('error', () => other.destroy());
        one.on('close', () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      }
    });
    this.#listener.listen(0, '127.0.0.1');
    await once(this.#listener, 'listening');
  }

  get url() {
    return `http://localhost:${this.#listener.address().port}`;
  }

  cut() {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#cut = false;
  }

  close() {
    this.cut();
    this.#listener?.close();
  }
}

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });

const sizes = { phone: { width: 390, height: 844 }, desk: { width: 1440, height: 900 } };

/** Opens a page in its own browser profile. `page.faults` collects its errors. */
export async function newPage(browser, { size = 'desk', language, ...options } = {}) {
  const context = await browser.newContext({ viewport: sizes[size], locale: 'es-ES', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(error.message));
  page.on('console', (message) => {
    // The console reports refused and cut requests too; some tests cause them on purpose.
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text())) page.faults.push(message.text());
  });
  if (language) await page.addInitScript((code) => localStorage.setItem('liveplan.language', code), language);
  return page;
}

export async function signIn(page, url, who) {
  await page.goto(`${url}/app/`);
  await page.getByTestId(`demo-${who}`).click();
  await live(page);
}

/** Signs in with the form, as somebody who has no card on the page. */
export async function signInByForm(page, who) {
  await page.getByTestId('signin-email').fill(`${who}@demo.test`);
  await page.getByTestId('signin-password').fill('demo');
  await page.getByTestId('signin-submit').click();
  await live(page);
}

export const live = (page) => page.locator('[data-testid=connection][data-state=live]').waitFor({ state: 'attached', timeout: 25_000 });

/** The REST API, signed in as one of the demo's people. */
export async function api(server, who) {
  const call = async (method, path, { body, headers } = {}) => {
    const response = await fetch(`${server.url}/api/v1/${path}`, {
      method, headers: { ...token, ...headers, ...(body ? { 'Content-Type': 'application/json' } : {}) }, body: body && JSON.stringify(body),
    });
    const answer = response.status === 204 ? undefined : await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${answer?.detail}`);
    return answer;
  };
  let token = {};
  const session = await call('POST', 'auth/login', { body: { email: `${who}@demo.test`, password: 'demo' } });
  token = { Authorization: `Bearer ${session.access_token}` };
  return { call, session };
}

/** Changes one of today's meals as the trainer, at the plan's current version. */
export async function edit(trainer, today, meal, body) {
  const path = `plans/${today.plan_id}/days/${today.day}/meals/${meal}`;
  const { version } = await trainer.call('GET', path);
  return trainer.call('PATCH', path, { body, headers: { 'If-Match': `"${version}"` } });
}

/** The time (by this machine's clock) at which a text appears inside an element of a page. Call it before the cause. */
export async function watchFor(page, testid, text) {
  const seen = await page.evaluateHandle(([id, wanted]) => ({
    at: new Promise((resolve) => {
      const there = () => document.querySelector(`[data-testid="${id}"]`)?.textContent.includes(wanted);
      const observer = new MutationObserver(() => {
        if (!there()) return;
        observer.disconnect();
        resolve(performance.timeOrigin + performance.now());
      });
      observer.observe(document.body, { subtree: true, childList: true, characterData: true });
    }),
  }), [testid, text]);
  return () => Promise.race([
    seen.evaluate((held) => held.at),
    new Promise((_, reject) => setTimeout(() => reject(new Error(`"${text}" did not appear in ${testid}`)), 15_000).unref()),
  ]);
}

/** Presses a button and returns the time at which the page received the click. */
export async function press(button) {
  const pressed = await button.evaluateHandle((element) => ({
    at: new Promise((resolve) => element.addEventListener('click', () => resolve(performance.timeOrigin + performance.now()), { capture: true, once: true })),
  }));
  await button.click();
  return pressed.evaluate((held) => held.at);
}

export const now = () => performance.timeOrigin + performance.now();

export function spread(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(1);
  return `p50 ${at(0.5)} ms, max ${at(1)} ms`;
}
