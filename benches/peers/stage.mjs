// Shared by the peers: `node PEER.mjs PORT TEXTS [REDIS]`. TEXTS is a JSON file with a list of texts; one command per
// line.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export const port = Number(process.argv[2]);
const texts = JSON.parse(readFileSync(process.argv[3], "utf8"));

/** Calls `publish(count, text)` for each line `COUNT NUMBER` on standard input; exits when it ends. */
export function commands(publish) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const [count, number] = line.split(" ").map(Number);
    publish(count, texts[number]);
  });
  lines.on("close", () => process.exit(0));
}
