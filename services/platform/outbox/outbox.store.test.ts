import { create, fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { z } from "zod";
import { UserRegisteredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { runInCall } from "#platform/rpc/trace.ts";
import { userEvent } from "../testing/event-kit.ts";
import { createTestDatabase } from "../testing/test-database.ts";
import { systemClock } from "../time/clock.ts";
import { createOutbox, newEvent, transact } from "./outbox.ts";
import type { OutboxRow } from "./outbox-event.ts";
import { readUnpublished } from "./relay.store.ts";

const zRow = z.strictObject({ id: zInt8, key: z.string(), key_version: zInt8 });
const rowsOf = sql.type(zRow)`select id, key, key_version from auth.outbox order by id`;

test("ids follow the order in which events were appended", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const outbox = createOutbox("auth");
  const keys = Array.from({ length: 300 }, (_, index) => `key-${(index * 7) % 50}`);
  await transact({ pool, outbox }, (tx) =>
    outbox.append(
      tx,
      keys.map((key, index) => userEvent(key, BigInt(index + 1))),
    ),
  );
  const rows = await pool.any(rowsOf);
  expect(rows.map(({ key }) => key)).toEqual(keys);
  expect(rows.map(({ key_version }) => Number(key_version))).toEqual(keys.map((_, index) => index + 1));
});

test("a change that does not commit leaves no event and wakes nobody", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const outbox = createOutbox("auth");
  let wakes = 0;
  outbox.onWake(() => {
    wakes += 1;
  });
  const failing = transact({ pool, outbox }, async (tx) => {
    await outbox.append(tx, [userEvent("key", 1n)]);
    throw new Error("no");
  });
  await expect(failing).rejects.toThrow("no");
  expect(await pool.any(rowsOf)).toEqual([]);
  expect(wakes).toBe(0);
  await transact({ pool, outbox }, (tx) => outbox.append(tx, [userEvent("key", 1n)]));
  expect(wakes).toBe(1);
});

test("the relay of this process is told what was committed, as it is stored, and of a try that was repeated only what counts", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const outbox = createOutbox("auth");
  const told: unknown[] = [];
  outbox.onWake((committed) => told.push(...(committed ?? [])));
  let tries = 0;
  await transact({ pool, outbox }, async (tx) => {
    tries += 1;
    await outbox.append(tx, [userEvent("a", 1n), { ...userEvent("b", 1n), traceparent: "00-1-2-01" }]);
    await outbox.append(tx, [userEvent("a", 2n)]);
    if (tries === 1) await tx.query(sql.unsafe`do $$ begin raise 'again' using errcode = '40001'; end $$`);
  });
  expect(tries).toBe(2);
  const query = { held: [], pausedKeys: [], pausedPrefixes: [], limit: 10 };
  const stored = await readUnpublished(pool, "auth", query);
  expect(stored).toHaveLength(3);
  expect(told.map(withHex)).toEqual(stored.map(withHex));
});

function withHex(row: unknown) {
  const { payload, created_at, ...rest } = row as OutboxRow;
  return { ...rest, payload: Buffer.from(payload).toString("hex"), created_at: created_at.toString() };
}

test("an event carries its message, encoded and named", () => {
  const at = { subject: "decentrastore.user.registered.u", key: "u", keyVersion: 1n, clock: systemClock };
  const event = newEvent(UserRegisteredSchema, at, { userId: "u" });
  expect(event.type).toBe("decentrastore.events.v1.UserRegistered");
  expect(fromBinary(UserRegisteredSchema, event.payload)).toEqual(create(UserRegisteredSchema, { userId: "u" }));
  expect(event.eventId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
});

test("an event belongs to the trace of the call that caused it, or to one of its own", () => {
  const at = { subject: "decentrastore.user.registered.u", key: "u", keyVersion: 1n, clock: systemClock };
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const call = { traceId, timeoutMs: () => undefined, signal: new AbortController().signal };
  const caused = runInCall(call, () => newEvent(UserRegisteredSchema, at, { userId: "u" }));
  expect(caused.traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
  const alone = newEvent(UserRegisteredSchema, at, { userId: "u" });
  expect(alone.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
});
