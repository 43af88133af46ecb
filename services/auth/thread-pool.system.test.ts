import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats } from "#platform/testing/test-nats.ts";
import { testKeyEncryptionKey } from "./testing/start-test-auth.ts";

test("the process has a thread for every permit, and four for everything else", { timeout: 120_000 }, async () => {
  await using db = await createTestDatabase();
  await using nats = await startTestNats();
  const child = spawn(process.execPath, ["services/auth/main.ts"], {
    env: {
      PATH: process.env.PATH,
      PORT: "0",
      OPS_PORT: "0",
      AUTH_DATABASE_URL: db.url("auth_app"),
      NATS_URL: nats.url("auth"),
      KEY_ENCRYPTION_KEY: testKeyEncryptionKey,
      LOG_LEVEL: "silent",
      HASH_CONCURRENCY: "9",
    },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  try {
    await once(child, "message");
    const tasks = `/proc/${child.pid}/task`;
    const threads = readdirSync(tasks).map((task) => readFileSync(`${tasks}/${task}/comm`, "utf8").trim());
    expect(threads.filter((name) => name === "libuv-worker")).toHaveLength(9 + 4);
  } finally {
    child.kill("SIGKILL");
  }
});
