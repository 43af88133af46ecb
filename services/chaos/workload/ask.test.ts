import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import type { Server } from "node:net";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { type History, newHistory, type Refusal } from "../history.ts";
import { ask } from "./ask.ts";
import { noToken, transportWith } from "./clients.ts";

async function urlOf(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return `http://127.0.0.1:${address.port}`;
}

/** What a client that speaks Connect, or gRPC, has to say of a login at this server. */
async function refusal(server: Server, protocol: "connect" | "grpc"): Promise<Refusal | undefined> {
  const baseUrl = await urlOf(server);
  const transport = protocol === "connect" ? transportWith(baseUrl, noToken) : createGrpcTransport({ baseUrl });
  const history: History = newHistory();
  await ask(history, "Login", () => createClient(AuthService, transport).login({ username: "a" }));
  server.close();
  return history.refusals[0];
}

const connectServer = (body: string | undefined) =>
  createServer((request, response) => {
    if (body === undefined) request.socket.resetAndDestroy();
    else response.writeHead(500, { "content-type": "application/json", connection: "close" }).end(body);
  });

const grpcServer = (status: string | undefined) => {
  const server = createHttp2Server();
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {}); // a reset that both ends hear of
    stream.on("close", () => stream.session?.destroy());
    if (status === undefined) stream.session?.socket.destroy();
    else stream.respond({ "content-type": "application/grpc+proto", "grpc-status": status }, { endStream: true });
  });
  return server;
};

test("an error that a server sent is known from one that the client's transport made", async () => {
  expect(await refusal(connectServer('{"code":"internal"}'), "connect")).toMatchObject({
    code: "Internal",
    isFromServer: true,
  });
  expect(await refusal(connectServer("no JSON"), "connect")).toMatchObject({ code: "Unknown", isFromServer: true });
  expect(await refusal(connectServer(undefined), "connect")).toMatchObject({ isFromServer: false });
  expect(await refusal(grpcServer("13"), "grpc")).toMatchObject({ code: "Internal", isFromServer: true });
  expect(await refusal(grpcServer("2"), "grpc")).toMatchObject({ code: "Unknown", isFromServer: true });
  expect(await refusal(grpcServer(undefined), "grpc")).toMatchObject({ isFromServer: false });
});
