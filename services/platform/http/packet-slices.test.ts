import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { sliceForParser } from "./packet-slices.ts";

async function serve(handler: RequestListener) {
  const server = createServer(handler);
  server.on("connection", sliceForParser);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return {
    connect: () => connect(address.port, "127.0.0.1").on("error", () => {}),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

const request = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";

test("what stands behind the request at which a connection is cut is not parsed", async () => {
  let requests = 0;
  await using server = await serve(({ socket }) => {
    requests += 1;
    if (requests === 17) socket.destroy();
  });
  const client = server.connect();
  const closed = once(client.resume(), "close");
  client.write(request.repeat(1_000));
  await closed;
  expect(requests).toBeGreaterThanOrEqual(17);
  expect(requests).toBeLessThan(100);
});

test("bodies and answers that fill the connection come whole, and in order", async () => {
  const text = "0123456789".repeat(10_000);
  let received = 0;
  let isPaused = () => false;
  await using server = await serve((incoming, response) => {
    isPaused = () => incoming.socket.isPaused();
    incoming.on("data", (piece: Buffer) => {
      received += piece.length;
    });
    response.end(text);
  });
  const client = server.connect().pause();
  const count = 200;
  client.write(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${text.length}\r\n\r\n${text}`);
  client.write(request.repeat(count));
  client.write("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
  let answers = "";
  client.on("data", (piece: Buffer) => {
    answers += piece.toString("latin1");
  });
  // For a client that does not read the server stops parsing, in the middle of a packet.
  await expect.poll(() => isPaused(), { timeout: 20_000 }).toBe(true);
  client.resume();
  await once(client, "close");
  expect(answers.split(text)).toHaveLength(count + 3);
  expect(received).toBe(text.length + 2 * count);
}, 60_000);
