import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { startTimeOf } from "../dev/start/processes.ts";
import { transportTo } from "../dev/upload/session.ts";
import { startControlPlane } from "./fixtures/control-plane.ts";
import { registerUser } from "./fixtures/network.ts";
import { until } from "./fixtures/until.ts";

let home = "";
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "decentrastore-launcher-"));
});
afterAll(() => rm(home, { recursive: true, force: true }));

it("keeps users over a restart, and leaves no process behind", { timeout: 180_000 }, async () => {
  const first = await startControlPlane({ home });
  const network = await first.devFile();
  expect((await stat(join(home, "dev.json"))).mode & 0o777).toBe(0o600);
  const user = await registerUser(network);
  await first.stop();
  expect(await alive(Object.values(network.pids))).toEqual([]);

  const second = await startControlPlane({ home });
  const { authUrl } = await second.devFile();
  const login = { username: user.username, password: user.password };
  const { user: again } = await createClient(AuthService, transportTo(authUrl)).login(login);
  expect(again?.userId).toBe(user.userId);
  await second.stop();
});

it("ends what a killed launcher left before it starts anew", { timeout: 180_000 }, async () => {
  const first = await startControlPlane({ home });
  const { pids } = await first.devFile();
  first.launcher.kill("SIGKILL");
  await once(first.launcher, "exit");
  const second = await startControlPlane({ home });
  expect(await alive(Object.values(pids))).toEqual([]);
  const left = Object.values((await second.devFile()).pids);
  second.launcher.kill("SIGKILL");
  await until("children of a killed launcher stop by themselves", 60_000, async () => (await alive(left)).length === 0);
});

async function alive(pids: readonly (number | undefined)[]): Promise<number[]> {
  const known = pids.filter((pid) => pid !== undefined);
  const times = await Promise.all(known.map((pid) => startTimeOf(pid)));
  return known.filter((_, index) => times[index] !== undefined);
}
