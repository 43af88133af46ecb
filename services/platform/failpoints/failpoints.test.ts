import { spawnSync } from "node:child_process";
import { afterEach, expect, test } from "vitest";
import { armFailpoints, failpoint } from "./failpoints.ts";

afterEach(() => armFailpoints({}));

const chaos = { DECENTRASTORE_CHAOS: "1" };

test("nothing happens at a failpoint that is not armed", () => {
  let asked = 0;
  armFailpoints({ ...chaos, FAILPOINTS: "commit.after=stall@1" }, () => {
    asked += 1;
    return 1;
  });
  failpoint("commit.before");
  expect(asked).toBe(0);
});

test("an armed failpoint fails with its chance, judged at each passage", () => {
  let asked = 0;
  armFailpoints({ ...chaos, FAILPOINTS: "commit.before=kill@0, commit.after=kill@0.5" }, () => {
    asked += 1;
    return 0.5; // not below the chance
  });
  failpoint("commit.after");
  failpoint("commit.after");
  expect(asked).toBe(2);
});

test("a process dies where its failpoint says kill", () => {
  const module = new URL("./failpoints.ts", import.meta.url).href;
  const script = `import { armFailpoints, failpoint } from ${JSON.stringify(module)};
    armFailpoints(process.env); failpoint("relay.after-mark"); console.log("here"); failpoint("relay.before-mark"); console.log("behind");`;
  const ended = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    env: { ...process.env, ...chaos, FAILPOINTS: "relay.before-mark=kill@1" },
    encoding: "utf8",
  });
  expect(ended.signal).toBe("SIGKILL");
  expect(ended.stdout).toBe("here\n");
});

test.each([
  ["commit.after=kill@0.5", {}, "without DECENTRASTORE_CHAOS=1"],
  ["commit.afterwards=kill@0.5", chaos, "does not understand"],
  ["commit.after=explode@0.5", chaos, "does not understand"],
  ["commit.after=kill@1.5", chaos, "does not understand"],
  ["commit.after=kill", chaos, "does not understand"],
])("refuses %s", (FAILPOINTS, env, complaint) => {
  expect(() => armFailpoints({ ...env, FAILPOINTS })).toThrow(complaint);
});
