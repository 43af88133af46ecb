/**
 * The steps between receiving something and being done with it, at any of which a process may die. A chaos run arms
 * some of them, and the process then ends there as by kill -9, or stands still for a while.
 */
export const failpointNames = [
  "rpc.received",
  "rpc.before-answer",
  "commit.before",
  "commit.after",
  "relay.before-publish",
  "relay.after-publish",
  "relay.before-mark",
  "relay.after-mark",
  "consumer.received",
  "consumer.before-commit",
  "consumer.after-commit",
  "consumer.after-acknowledge",
] as const;
export type FailpointName = (typeof failpointNames)[number];

const STALL_MS = 700;

type Fail = () => void;
const armed = new Map<string, Fail>();

/** Costs one comparison unless something is armed. */
export function failpoint(name: FailpointName): void {
  if (armed.size > 0) armed.get(name)?.();
}

/**
 * Arms what FAILPOINTS says: `relay.after-publish=kill@0.01,commit.after=stall@0.1`, a chance for each passage. Throws
 * without DECENTRASTORE_CHAOS=1 beside it, so that no forgotten variable can hurt a service in use, and for anything
 * that it does not understand.
 */
export function armFailpoints(env: NodeJS.ProcessEnv, random: () => number = Math.random): void {
  armed.clear();
  const text = env.FAILPOINTS?.trim() ?? "";
  if (text === "") return;
  if (env.DECENTRASTORE_CHAOS !== "1") throw new Error("FAILPOINTS is set without DECENTRASTORE_CHAOS=1: not starting");
  for (const entry of text.split(",")) {
    const [, name = "", action, chance] = /^\s*([a-z.-]+)=(kill|stall)@(\d+(?:\.\d+)?)\s*$/.exec(entry) ?? [];
    if (!failpointNames.some((known) => known === name) || Number(chance) > 1) {
      throw new Error(`FAILPOINTS does not understand "${entry.trim()}"`);
    }
    const fail = action === "kill" ? die : stall;
    armed.set(name, () => {
      if (random() < Number(chance)) fail();
    });
  }
}

function die(): void {
  process.kill(process.pid, "SIGKILL");
  // The signal may take a moment to arrive, and nothing may happen behind the failpoint.
  stall();
}

/** The whole process, as if the machine were busy with something else. */
function stall(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STALL_MS);
}
