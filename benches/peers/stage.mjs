// What the peers share: `node PEER.mjs PORT TEXTS [REDIS]`, where TEXTS is a JSON file of texts, and commands a line each.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export const port = Number(process.argv[2]);
const texts = JSON.parse(readFileSync(process.argv[3], "utf8"));

/** Calls `publish(count, text)` for each line `COUNT NUMBER`; ends with the bench. */
export function commands(publish) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const [count, number] = line.split(" ").map(Number);
    publish(count, texts[number]);
  });
  lines.on("close", () => process.exit(0));
}
