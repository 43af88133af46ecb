import { type DescMethod, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { randomMessage, seededRandom } from "#platform/testing/random-message.ts";
import { contractRules, violationsOf } from "./fixtures/boundary-violations.ts";
import { type Cast, createCast } from "./fixtures/cast.ts";
import { contractComments } from "./fixtures/contract-comments.ts";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import { fittingRequest, type Slot, slotsOf } from "./fixtures/fitting-requests.ts";
import { inParallel } from "./fixtures/in-parallel.ts";
import { admittedCaller, type CallerKind, callerKinds, everyMethod, type Outcome } from "./fixtures/rpc-callers.ts";

// Requests that nobody should send, made from the descriptors and from the rules that the contract states, against the
// real services.

let plane: ControlPlane;
let cast: Cast;
beforeAll(async () => {
  plane = await startControlPlane({ env: { LOGIN_FAILURE_STEP: "0" } });
  cast = await createCast(await plane.devFile());
}, 120_000);
afterAll(async () => {
  cast?.[Symbol.dispose]();
  await plane?.[Symbol.asyncDispose]();
}, 120_000);

interface BadRequest {
  readonly method: DescMethod;
  readonly slot: Slot;
  readonly rule: RegExp;
  readonly value: unknown;
}

function badRequests(): BadRequest[] {
  const comments = contractComments();
  return everyMethod.flatMap((method) =>
    slotsOf(method.input).flatMap((slot) => {
      const comment = comments.get(`${slot.field.parent.typeName}.${slot.field.name}`);
      if (comment === undefined) throw new Error(`${slot.field} has no comment`);
      return violationsOf(slot.field, comment).map((violation) => ({ method, slot, ...violation }));
    }),
  );
}

async function send({ method, slot, value }: BadRequest): Promise<Outcome> {
  const request = fittingRequest(method.input, cast.known);
  slot.put(request, value);
  return cast.callers.call(admittedCaller(method), method, toBinary(method.input, request.message));
}

/** What is missing in an answer that should name the field and its rule. */
function complaintAbout(outcome: Outcome, path: string): string | undefined {
  if (outcome.code !== "InvalidArgument") return `${outcome.code} ${outcome.message}`;
  if (outcome.reason !== "INVALID_FIELD") return `reason ${outcome.reason}`;
  const named = outcome.violations.find(({ field }) => field === path || field.startsWith(`${path}[`));
  if (named === undefined) return `names only ${outcome.violations.map(({ field }) => field).join(", ")}`;
  if (named.rule === "" || !outcome.message.includes(named.field))
    return `does not say what is wrong: ${outcome.message}`;
  return undefined;
}

test("a value outside of what the contract allows is INVALID_ARGUMENT with the field and its rule", async () => {
  const requests = badRequests();
  const complaints: string[] = [];
  await inParallel(requests, 8, async (request) => {
    const { method, slot, value } = request;
    const complaint = complaintAbout(await send(request), slot.path);
    if (complaint !== undefined)
      complaints.push(`${method.name} ${slot.path} = ${String(value).slice(0, 70)}: ${complaint}`);
  });
  expect(complaints).toEqual([]);
  // Each way to state a rule is still used by the contract.
  expect(contractRules.filter(({ states }) => !requests.some(({ rule }) => rule === states))).toEqual([]);
  expect(requests.length).toBeGreaterThan(300);
}, 120_000);

interface RandomRequest {
  readonly kind: CallerKind;
  readonly method: DescMethod;
  readonly bytes: Uint8Array;
}

/** Random messages for every RPC from everyone who can send them: only nodes reach the node edge. */
function randomRequests(seed: number, messagesPerMethod: number): RandomRequest[] {
  const random = seededRandom(seed);
  return callerKinds.flatMap((kind) =>
    everyMethod
      .filter((method) => (method.parent === NodeService) === (kind === "node"))
      .flatMap((method) =>
        Array.from({ length: messagesPerMethod }, () => ({
          ...{ kind, method },
          bytes: toBinary(method.input, randomMessage(method.input, random)),
        })),
      ),
  );
}

test("random content of every request, from every kind of caller, is never the server's fault", async () => {
  const seed = 1;
  using own = await createCast(await plane.devFile());
  const faults: string[] = [];
  const codes = new Set<string>();
  await inParallel(randomRequests(seed, 3), 8, async ({ kind, method, bytes }) => {
    const { code, message } = await own.callers.call(kind, method, bytes);
    codes.add(code);
    if (["Internal", "Unknown", "DataLoss", "Unavailable"].includes(code)) {
      faults.push(
        `seed ${seed}, ${kind}, ${method.name}: ${code} ${message} for ${Buffer.from(bytes).toString("hex").slice(0, 400)}`,
      );
    }
  });
  expect(faults).toEqual([]);
  expect([...codes]).toEqual(expect.arrayContaining(["OK", "InvalidArgument", "Unauthenticated", "PermissionDenied"]));
}, 120_000);
