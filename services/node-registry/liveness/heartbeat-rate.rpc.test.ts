import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { systemClock } from "#platform/time/clock.ts";
import { type BeatStream, openBeats } from "../testing/beat-stream.ts";
import { beat, createTestNetwork, heartbeat } from "../testing/test-registry.ts";

// By the clock below a flush of a moment takes many seconds, and a registry that is behind sends its nodes elsewhere.
const LONG_LEASE = { NODE_LEASE_TTL: "10m" };

/** Whatever time sending takes, for the registry it is one second after the other. */
function createSeconds() {
  const at = { ms: 100_000 };
  return { clock: { ...systemClock, monotonicMs: () => at.ms }, next: () => Object.assign(at, { ms: at.ms + 1_000 }) };
}

type Answer = Awaited<ReturnType<BeatStream["exchange"]>>;

/** Sends so many in each of so many seconds; what each of them got. */
async function beatFast(
  stream: BeatStream,
  seconds: { next(): void },
  perSecond: number,
  count: number,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (let second = 0; second < count; second += 1) {
    seconds.next();
    const sent = Array.from({ length: perSecond }, (_, index) => stream.exchange(beat(1 + second * 100 + index)));
    answers.push(...(await Promise.all(sent)));
  }
  return answers;
}

function refused(answers: readonly Answer[]): Answer[] {
  return answers.filter((answer) => "code" in answer);
}

test("a node that sends more than 50 heartbeats per second for ten seconds loses its stream, others do not", async () => {
  await using network = await createTestNetwork();
  const seconds = createSeconds();
  await using registry = await network.registry(LONG_LEASE, { clock: seconds.clock });
  const [fast, steady] = [await registry.enroll(), await registry.enroll()];
  using fastClient = fast.connect();
  using steadyClient = steady.connect();
  const stream = openBeats(fastClient);
  expect(refused(await beatFast(stream, seconds, 51, 10))).toEqual([]);
  seconds.next();
  const end = { code: status.RESOURCE_EXHAUSTED, reason: "HEARTBEAT_RATE_EXCEEDED" };
  expect(await stream.exchange(beat(9_999))).toMatchObject(end);
  expect(refused(await beatFast(openBeats(steadyClient), seconds, 50, 12))).toEqual([]);

  for (let second = 0; second < 10; second += 1) {
    await Promise.all(Array.from({ length: 51 }, () => fastClient.unary(heartbeat, beat(1))));
    seconds.next();
  }
  expect(reasonOf(await failureOf(fastClient.unary(heartbeat, beat(1))))).toBe("HEARTBEAT_RATE_EXCEEDED");
}, 120_000);

test("an interval of 0 switches the limit off", async () => {
  await using network = await createTestNetwork();
  const seconds = createSeconds();
  await using registry = await network.registry(
    { ...LONG_LEASE, NODE_HEARTBEAT_MIN_INTERVAL: "0" },
    { clock: seconds.clock },
  );
  using client = (await registry.enroll()).connect();
  expect(refused(await beatFast(openBeats(client), seconds, 80, 13))).toEqual([]);
}, 120_000);
