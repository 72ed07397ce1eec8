// npm ws, as it is: a line on the standard input broadcasts. `N M` sends N messages to each client, whose text is the file's M.
import { WebSocketServer } from "ws";
import { commands, port } from "./stage.mjs";

const server = new WebSocketServer({ port, host: "127.0.0.1", perMessageDeflate: false });
server.on("listening", () => console.log("ready"));
commands((count, text) => {
  for (let n = 0; n < count; n += 1) for (const client of server.clients) client.send(text);
});
