import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { z } from "zod";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { freePort } from "../../dev/start/ports.ts";
import { bearer, testKeyEncryptionKey } from "../testing/start-test-auth.ts";

interface Started {
  readonly child: ChildProcess;
  readonly port: number;
}

async function startProcess(env: NodeJS.ProcessEnv, port: number): Promise<Started> {
  const child = spawn(process.execPath, ["services/auth/main.ts"], {
    env: { PATH: process.env.PATH, ...env, PORT: String(port) },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const [message] = await once(child, "message");
  return { child, port: z.object({ type: z.literal("ready"), port: z.number() }).parse(message).port };
}

test("kill -9 in the middle of refreshes loses no session and cries no theft", { timeout: 120_000 }, async () => {
  await using db = await createTestDatabase();
  await using nats = await startTestNats();
  const pool = await db.pool("auth");
  const env = {
    OPS_PORT: "0",
    AUTH_DATABASE_URL: db.url("auth_app"),
    NATS_URL: nats.url("auth"),
    KEY_ENCRYPTION_KEY: testKeyEncryptionKey,
    LOG_LEVEL: "silent",
    ARGON2_MEMORY_KIB: "7168",
    ARGON2_PASSES: "1",
    // On a busy machine a process takes longer to come back than the 20 s of the rule.
    REFRESH_REPLAY_WINDOW: "60s",
  };
  // None of those that systems give to outgoing connections: while the process is dead, one of them could take it.
  let auth = await startProcess(env, await freePort());
  let isOver = false;
  try {
    const baseUrl = `http://127.0.0.1:${auth.port}`;
    const client = createClient(AuthService, createConnectTransport({ baseUrl, httpVersion: "1.1" }));
    const password = "a long and unusual phrase";
    const sessions = await Promise.all(
      [1, 2, 3, 4].map(async (n) => {
        const { tokens } = await client.register({ username: `crash-${n}`, password });
        return { refreshToken: tokens?.refreshToken ?? "", accessToken: "", rounds: 0, repeats: 0 };
      }),
    );
    /** A client as it should be: it keeps the old token until it has the answer, and asks again with it. */
    const use = async (session: (typeof sessions)[number]) => {
      while (!isOver) {
        try {
          const { tokens } = await client.refreshSession({ refreshToken: session.refreshToken }, { timeoutMs: 5_000 });
          session.refreshToken = tokens?.refreshToken ?? "";
          session.accessToken = tokens?.accessToken ?? "";
          session.rounds += 1;
        } catch (error) {
          if (/refresh token/.test(String(error))) throw error;
          session.repeats += 1;
          await systemClock.sleep(20);
        }
      }
    };
    const clients = sessions.map(use);
    /** Resolves when every client has refreshed so often, or one has failed. */
    const progress = async (rounds: number) => {
      const done = async () => {
        while (!isOver && sessions.some((session) => session.rounds < rounds)) await systemClock.sleep(5);
      };
      await Promise.race([done(), ...clients]);
    };
    for (let crash = 0; crash < 3; crash += 1) {
      await progress(5 * (crash + 1));
      await systemClock.sleep(Math.random() * 20);
      auth.child.kill("SIGKILL");
      await once(auth.child, "exit");
      auth = await startProcess(env, auth.port);
    }
    await progress(20);
    isOver = true;
    await Promise.all(clients);
    for (const session of sessions) {
      expect(session.rounds).toBeGreaterThanOrEqual(20);
      expect(session.repeats).toBeGreaterThan(0);
      expect((await client.getCurrentUser({}, bearer(session.accessToken))).user).toBeDefined();
    }
    const living = await pool.one(sql.type(z.strictObject({ sessions: z.bigint(), revoked: z.bigint() }))`
      select count(*) sessions, count(revoked_at) revoked from auth.sessions`);
    expect(living).toEqual({ sessions: 4n, revoked: 0n });
  } finally {
    isOver = true;
    auth.child.kill("SIGKILL");
  }
});
