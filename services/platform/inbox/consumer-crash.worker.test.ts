import { expect, test } from "vitest";
import { createEventKit, type EventKit, eventually, querySuperuser, startWorkerProcess } from "../testing/event-kit.ts";

const consumerProcess = new URL("../testing/consumer-process.ts", import.meta.url).pathname;

async function createCrashKit(): Promise<EventKit & { env: Record<string, string> }> {
  const kit = await createEventKit();
  await querySuperuser(
    kit.db,
    `create table user_quota.effects (id bigserial, key text, version bigint);
     grant insert, select on user_quota.effects to user_quota_app;
     grant usage on sequence user_quota.effects_id_seq to user_quota_app`,
  );
  const env = { DATABASE_URL: kit.db.url("user_quota_app"), NATS_URL: kit.broker.url("user-quota") };
  return Object.assign(kit, { env });
}

/** Each process needs seconds to start on a busy machine. */
const patience = { timeout: 120_000 };

const manyKeys = (count: number, keys: number) => Array.from({ length: count }, (_, index) => `key-${index % keys}`);

async function effects(kit: EventKit): Promise<number> {
  const [row] = await querySuperuser(kit.db, "select count(*)::int as count from user_quota.effects");
  return Number(row?.count);
}

/** Effects whose version is not the one after the key's previous effect. */
async function disorder(kit: EventKit): Promise<unknown[]> {
  return await querySuperuser(
    kit.db,
    `select * from (
       select key, version, row_number() over (partition by key order by id) as expected from user_quota.effects
     ) as ordered where version <> expected`,
  );
}

test("a consumer that is killed again and again applies each event once and never out of order", patience, async () => {
  await using kit = await createCrashKit();
  await using _relay = kit.relay();
  for (let round = 0; round < 4; round += 1) {
    const before = await effects(kit);
    await using consumer = await startWorkerProcess(consumerProcess, kit.env);
    await kit.append(manyKeys(400, 20));
    // Somewhere in the middle, at another point each time.
    await eventually(async () => (await effects(kit)) > before + round * 37, "it applied some");
    await consumer.kill("SIGKILL");
  }
  await using _last = await startWorkerProcess(consumerProcess, kit.env);
  await eventually(async () => (await effects(kit)) >= 1_600, "everything applied");
  expect(await effects(kit)).toBe(1_600);
  expect(await disorder(kit)).toEqual([]);
});

test("a consumer that was stopped while another took over changes nothing when it goes on", patience, async () => {
  await using kit = await createCrashKit();
  await using _relay = kit.relay();
  await using first = await startWorkerProcess(consumerProcess, kit.env);
  await kit.append(manyKeys(50, 20));
  await eventually(async () => (await effects(kit)) === 50, "the first applies");
  await using _second = await startWorkerProcess(consumerProcess, kit.env);
  await kit.append(manyKeys(1_000, 20));
  await first.kill("SIGSTOP");
  await kit.append(manyKeys(1_000, 20));
  await eventually(async () => (await effects(kit)) >= 2_050, "the second took over");
  await first.kill("SIGCONT");
  await kit.append(manyKeys(500, 20));
  await eventually(async () => (await effects(kit)) >= 2_550, "everything applied");
  expect(await effects(kit)).toBe(2_550);
  expect(await disorder(kit)).toEqual([]);
});
