import { randomUUID } from "node:crypto";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { failureOf, reasonOf } from "#platform/testing/connect-failure.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService } from "#platform/testing/test-service.ts";

const transports = { Connect: createConnectTransport, gRPC: createGrpcTransport };

test.each(["Connect", "gRPC"] as const)("over %s a stream ends when its token is revoked", async (protocol) => {
  const directory = implementPartly(NodeDirectoryService, {
    watchNodes: async function* (_request, context) {
      yield { revision: 1n };
      // As one that waits for what is to be told next.
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve, { once: true }));
    },
  });
  await using running = await startTestService({ services: [directory] });
  const client = createClient(NodeDirectoryService, transports[protocol]({ baseUrl: running.url, httpVersion: "2" }));
  const open = async (userId: string) => {
    const headers = { authorization: await running.issuer.user(userId, { isAdmin: true }) };
    const end = new AbortController();
    const stream = client.watchNodes({}, { headers, signal: end.signal })[Symbol.asyncIterator]();
    expect((await stream.next()).value?.revision).toBe(1n);
    return { next: stream.next(), end };
  };
  const [revoked, other] = [randomUUID(), randomUUID()];
  const [ended, living] = [await open(revoked), await open(other)];
  running.issuer.revoke(revoked);
  const error = await failureOf(ended.next);
  expect([error.code, reasonOf(error)]).toEqual([Code.Unauthenticated, "TOKEN_INVALID"]);
  expect(running.lastCall()).toMatchObject({ code: "UNAUTHENTICATED", caller: `user:${revoked}` });
  living.end.abort();
  expect((await failureOf(living.next)).code).toBe(Code.Canceled);
});
