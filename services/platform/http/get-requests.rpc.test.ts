import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { compressionGzip, createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";

const MIB = 1024 * 1024;

const quota = implementPartly(UserQuotaService, {
  listLedgerEntries: ({ pageToken }) => ({ nextPageToken: pageToken }),
  listAccounts: () => ({ nextPageToken: "x".repeat(4 * MIB) }),
});

let running: TestService;
let authorization: string;
beforeAll(async () => {
  running = await startTestService({ services: [quota] });
  authorization = await running.issuer.user("00000000-0000-4000-8000-000000000000", { isAdmin: true });
});
afterAll(() => running[Symbol.asyncDispose]());

const ways = (["1.1", "2"] as const).flatMap((httpVersion) =>
  [true, false].flatMap((useBinaryFormat) =>
    [[], [compressionGzip]].map((acceptCompression) => ({
      httpVersion,
      useBinaryFormat,
      acceptCompression,
      packed: acceptCompression.length > 0 ? "packed" : "plain",
    })),
  ),
);

test.for(ways)("reads go by GET: HTTP/$httpVersion, binary $useBinaryFormat, $packed", async ({ packed, ...way }) => {
  const [sendCompression] = way.acceptCompression;
  const packing = { ...(sendCompression === undefined ? {} : { sendCompression }), compressMinBytes: 1 };
  const transport = createConnectTransport({ baseUrl: running.url, useHttpGet: true, ...way, ...packing });
  const client = createClient(UserQuotaService, transport);
  for (const pageToken of ["", "tiny", "long".repeat(1_000)]) {
    const answer = await client.listLedgerEntries({ pageToken }, { headers: { authorization } });
    expect(answer.nextPageToken).toBe(pageToken);
  }
});

test("a large answer to a GET is whole, also for a client that reads slowly", async () => {
  const session = connectHttp2(running.url);
  const path = "/decentrastore.user_quota.v1.UserQuotaService/ListAccounts";
  const stream = session.request({ ":path": path, authorization });
  const [head] = await once(stream, "response");
  expect(head[":status"]).toBe(200);
  let bytes = 0;
  for await (const piece of stream) {
    bytes += piece.byteLength;
    await nextTurn();
  }
  expect(bytes).toBe(Number(head["content-length"]));
  expect(bytes).toBeGreaterThan(4 * MIB);
  expect(stream.rstCode).toBe(0);
  session.destroy();
});

test("a GET may be answered later than a body has to end", async () => {
  const slow = implementPartly(UserQuotaService, {
    listLedgerEntries: async () => {
      await delay(500);
      return { nextPageToken: "late" };
    },
  });
  const httpLimits = { headersTimeoutMs: 100, requestTimeoutMs: 100 };
  await using patient = await startTestService({ services: [slow], httpLimits });
  const token = await patient.issuer.user("00000000-0000-4000-8000-000000000000", { isAdmin: true });
  for (const httpVersion of ["1.1", "2"] as const) {
    const transport = createConnectTransport({ baseUrl: patient.url, useHttpGet: true, httpVersion });
    const client = createClient(UserQuotaService, transport);
    const answer = await client.listLedgerEntries({}, { headers: { authorization: token } });
    expect(answer.nextPageToken).toBe("late");
  }
});
