// Screens as in the web app: its own store and reducer on the official SDK. The Rust test writes one JSON order per
// line (open a screen, lose or regain its network, compare its state), and each line gets one answer.
import { isDeepStrictEqual } from 'node:util';
import { WebSocket } from 'ws';
import { LiveStore } from '../../../static/dist-test/live.mjs';
import { client, given, lines, until } from './kit.mjs';

const screens = new Map();

class Screen {
  applied = 0;
  recoveries = 0;
  fetches = 0;

  constructor(token) {
    const screen = this;
    // Keeps a reference to the socket, to cut it as a network failure would.
    class CutSocket extends WebSocket {
      constructor(...options) {
        super(...options);
        screen.socket = this;
      }
    }
    this.sdk = client({ token, websocket: CutSocket });
    this.store = new LiveStore({ fetchSnapshot: (url) => this.#fetch(url, token) });
    this.store.attach(this.sdk);
    this.store.listen((channel, entry, change) => {
      if (change.event && entry.offset > 0) this.applied += 1;
    });
    this.sdk.on('subscribed', (ctx) => this.#count(ctx));
  }

  async #fetch(url, token) {
    this.fetches += 1;
    const response = await fetch(`http://${given.address}${url}`, { headers: { Authorization: `Bearer ${token}` } });
    if (!response.ok) throw new Error(`${url}: ${response.status}`);
    return response.json();
  }

  #count(ctx) {
    if (ctx.recovered) this.recoveries += 1;
  }

  watch(channel) {
    this.store.watch(channel);
    this.sdk.getSubscription(channel)?.on('subscribed', (ctx) => this.#count(ctx));
  }

  /** Whether a channel is live and equals this snapshot. */
  shows(channel, { epoch, offset, snapshot }) {
    const entry = this.store.get(channel);
    return (
      entry?.live === true && entry.epoch === epoch && entry.offset <= offset && isDeepStrictEqual(entry.state, snapshot)
    );
  }
}

/** The differences between two values: path, value shown, value expected. */
function differences(shown, wanted, path = '') {
  const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(shown) || !isObject(wanted)) {
    return isDeepStrictEqual(shown, wanted) ? [] : [[path, shown ?? null, wanted ?? null]];
  }
  const keys = new Set([...Object.keys(shown), ...Object.keys(wanted)]);
  return [...keys].flatMap((key) => differences(shown[key], wanted[key], `${path}/${key}`));
}

const orders = {
  open({ screen, token, channels }) {
    const opened = new Screen(token);
    screens.set(screen, opened);
    for (const channel of channels) opened.watch(channel);
    opened.sdk.connect();
  },
  watch: ({ screen, channel }) => screens.get(screen).watch(channel),
  offline: ({ screen }) => screens.get(screen).sdk.disconnect(),
  online: ({ screen }) => screens.get(screen).sdk.connect(),
  cut: ({ screen }) => screens.get(screen).socket?.terminate(),
  async shows({ screen: name, channels }) {
    const screen = screens.get(name);
    const wrong = () => Object.entries(channels).find(([channel, fresh]) => !screen.shows(channel, fresh));
    try {
      await until('the same state', () => !wrong(), 10_000);
    } catch {
      const found = wrong();
      if (!found) return;
      const [channel, fresh] = found;
      const { state, ...entry } = screen.store.get(channel) ?? {};
      const wanted = { epoch: fresh.epoch, offset: fresh.offset };
      throw new Error(JSON.stringify({ screen: name, channel, entry, wanted, differs: differences(state, fresh.snapshot) }));
    }
  },
  counts() {
    const all = [...screens.values()];
    const sum = (of) => all.reduce((total, screen) => total + of(screen), 0);
    return { applied: sum((s) => s.applied), recoveries: sum((s) => s.recoveries), fetches: sum((s) => s.fetches) };
  },
};

for await (const line of lines) {
  const { order, ...rest } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ ok: (await orders[order](rest)) ?? true }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message) }));
  }
}
process.exit(0);
