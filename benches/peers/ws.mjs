// npm ws with default settings. A line `COUNT NUMBER` on standard input sends text NUMBER COUNT times to each client.
import { WebSocketServer } from "ws";
import { commands, port } from "./stage.mjs";

const server = new WebSocketServer({ port, host: "127.0.0.1", perMessageDeflate: false });
server.on("listening", () => console.log("ready"));
commands((count, text) => {
  for (let n = 0; n < count; n += 1) for (const client of server.clients) client.send(text);
});
