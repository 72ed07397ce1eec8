// Socket.IO with its Redis adapter, set up as in its documentation. A line on standard input broadcasts to a room.
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { commands, port } from "./stage.mjs";

const publisher = createClient({ url: process.argv[4] });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);
const server = new Server({ adapter: createAdapter(publisher, subscriber), transports: ["websocket"] });
server.on("connection", (socket) => socket.join("plan"));
server.listen(port);
server.httpServer.on("listening", () => console.log("ready"));
commands((count, text) => {
  const event = JSON.parse(text);
  for (let n = 0; n < count; n += 1) server.to("plan").emit("message", event);
});
