import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createEventKit, eventually, querySuperuser, startWorkerProcess } from "../testing/event-kit.ts";
import { randomFrom } from "../testing/random.ts";

const script = (name: string) => new URL(`../testing/${name}-process.ts`, import.meta.url).pathname;

const seed = Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 31));
const rounds = Number(process.env.CHAOS_ROUNDS ?? 6);

test(`whatever is killed, stopped or wiped, each event has one effect, in order (CHAOS_SEED=${seed})`, async () => {
  const random = randomFrom(seed);
  const pick = <T>(choices: readonly T[]): T | undefined => choices[Math.floor(random() * choices.length)];
  await using kit = await createEventKit();
  await querySuperuser(
    kit.db,
    `create table user_quota.effects (id bigserial, key text, version bigint);
     grant insert, select on user_quota.effects to user_quota_app;
     grant usage on sequence user_quota.effects_id_seq to user_quota_app`,
  );
  const startRelay = () =>
    startWorkerProcess(script("relay"), { DATABASE_URL: kit.db.url("auth_app"), NATS_URL: kit.broker.url("auth") });
  const startConsumer = () =>
    startWorkerProcess(script("consumer"), {
      DATABASE_URL: kit.db.url("user_quota_app"),
      NATS_URL: kit.broker.url("user-quota"),
    });
  const workers = { relay: await startRelay(), consumer: await startConsumer() };
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => {
    await workers.relay[Symbol.asyncDispose]();
    await workers.consumer[Symbol.asyncDispose]();
  });
  const count = async () => {
    const [row] = await querySuperuser(kit.db, "select count(*)::int as count from user_quota.effects");
    return Number(row?.count);
  };
  const faults: Record<string, () => Promise<void>> = {
    "kill the relay": async () => {
      await workers.relay.kill("SIGKILL");
      workers.relay = await startRelay();
    },
    "kill the consumer": async () => {
      await workers.consumer.kill("SIGKILL");
      workers.consumer = await startConsumer();
    },
    "kill the broker": async () => {
      await kit.broker.kill();
      await kit.broker.start();
    },
    "wipe the broker": async () => {
      await kit.broker.kill();
      await rm(join(kit.broker.folder, "jetstream"), { recursive: true, force: true });
      await kit.broker.start();
    },
    "end the database's connections": async () => {
      await querySuperuser(
        kit.db,
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename like '%\\_app'",
      );
    },
  };
  let total = 0;
  const done: string[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const size = 100 + Math.floor(random() * 300);
    const before = await count();
    for (let start = 0; start < size; start += 50) {
      const keys = Array.from({ length: Math.min(50, size - start) }, () => `key-${Math.floor(random() * 30)}`);
      total += (await kit.append(keys)).length;
    }
    const progress = before + random() * size;
    const fault = pick(Object.keys(faults)) ?? "";
    done.push(fault);
    await eventually(async () => (await count()) >= Math.min(progress, total), `progress, ${done.join(", ")}`, 60_000);
    await faults[fault]?.();
  }
  await eventually(async () => (await count()) >= total, `all effects, after: ${done.join(", ")}`, 60_000);
  expect(await count()).toBe(total);
  const disorder = await querySuperuser(
    kit.db,
    `select * from (
       select key, version, row_number() over (partition by key order by id) as expected from user_quota.effects
     ) as ordered where version <> expected`,
  );
  expect(disorder).toEqual([]);
}, 180_000);
