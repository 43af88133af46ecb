import { type DescMethod, fromBinary, toBinary } from "@bufbuild/protobuf";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { describeSchema } from "../../db/describe-schema.ts";
import { tablesOf } from "../../db/manifest.ts";
import { type Cast, createCast } from "./fixtures/cast.ts";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import { fittingRequest, isTextual, type Slot, slotsOf } from "./fixtures/fitting-requests.ts";
import { inParallel } from "./fixtures/in-parallel.ts";
import { injectedCursors, injectionsFor, marker } from "./fixtures/injections.ts";
import { admittedCaller, everyMethod, type Outcome } from "./fixtures/rpc-callers.ts";
import { type StatementLog, watchStatements } from "./fixtures/statement-log.ts";

// SQL injection through every text of every RPC, found by the descriptors, with the real services and a PostgreSQL that
// logs the text of each statement it gets.

const schemas = ["auth", "user_quota", "node_registry"] as const;

let plane: ControlPlane;
let cast: Cast;
let client: pg.Client;
let statements: StatementLog;
beforeAll(async () => {
  // Hundreds of logins fail here; the step that makes them alike in time would only make them slow.
  plane = await startControlPlane({ env: { LOGIN_FAILURE_STEP: "0" } });
  const network = await plane.devFile();
  cast = await createCast(network);
  client = new pg.Client({ connectionString: network.databaseUrl });
  await client.connect();
  await client.query(`
    create role canary_keeper;
    create schema canary;
    create table canary.birds (name text);
    insert into canary.birds values ('tweety');
    grant usage on schema canary to public;
    grant all on canary.birds to public`);
  statements = await watchStatements(plane.home, client);
}, 120_000);
afterAll(async () => {
  await client?.end();
  cast?.[Symbol.dispose]();
  await plane?.[Symbol.asyncDispose]();
}, 120_000);

/** What an injected statement would change. */
async function whatStands() {
  const described: string[] = [];
  for (const schema of schemas) described.push(await describeSchema(client, schema));
  const { rows: birds } = await client.query("select name from canary.birds");
  const { rows: roles } = await client.query("select rolname, rolsuper from pg_roles order by rolname");
  return { described, birds, roles };
}

async function rowCounts(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const schema of schemas) {
    for (const table of await tablesOf(client, schema)) {
      const { rows } = await client.query(`select count(*)::int as count from ${schema}.${pg.escapeIdentifier(table)}`);
      counts.set(`${schema}.${table}`, z.object({ count: z.int() }).parse(rows[0]).count);
    }
  }
  return counts;
}

interface Injection {
  readonly method: DescMethod;
  readonly slot: Slot;
  readonly value: unknown;
}

let serial = 0;
const next = () => ++serial;

function injectionsOf(method: DescMethod): Injection[] {
  return slotsOf(method.input)
    .filter(({ field }) => isTextual(field))
    .flatMap((slot) => {
      const fit = slot.read(fittingRequest(method.input, cast.known));
      return injectionsFor(slot.field, fit, next).map((value) => ({ method, slot, value }));
    });
}

async function send({ method, slot, value }: Injection): Promise<Outcome> {
  const request = fittingRequest(method.input, cast.known);
  slot.put(request, value);
  return cast.callers.call(admittedCaller(method), method, toBinary(method.input, request.message));
}

const nextPageTokenSchema = z.object({ nextPageToken: z.string() });

/** For every list with a second page by now: its page tokens, with payloads inside the cursor. */
async function cursorInjections(): Promise<Injection[]> {
  const injections: Injection[] = [];
  for (const method of everyMethod) {
    const slots = slotsOf(method.input);
    const [size, slot] = ["page_size", "page_token"].map((name) => slots.find(({ path }) => path === name));
    if (size === undefined || slot === undefined) continue;
    const { response } = await send({ method, slot: size, value: 1 });
    const answer = fromBinary(method.output, response);
    const token = nextPageTokenSchema.parse(answer).nextPageToken;
    if (token !== "") injections.push(...injectedCursors(token, next).map((value) => ({ method, slot, value })));
  }
  return injections;
}

test("every request that the attack is built on reaches its handler", async () => {
  const blocked: string[] = [];
  for (const method of everyMethod.filter(({ name }) => name !== "Deregister")) {
    const request = toBinary(method.input, fittingRequest(method.input, cast.known).message);
    const { code, message } = await cast.callers.call(admittedCaller(method), method, request);
    const isFine = ["OK", "NotFound", "FailedPrecondition"].includes(code);
    // What these are given to check is wrong on purpose.
    const isChecked =
      code === "Unauthenticated" && /^(Login|RefreshSession|IssueServiceToken|ChangePassword)$/.test(method.name);
    if (!isFine && !isChecked) blocked.push(`${method.name}: ${code} ${message}`);
  }
  expect(blocked).toEqual([]);
});

test("no text of any request becomes part of a statement", async () => {
  await client.query(`select 'control ${marker}'`);
  const [before, countsBefore] = [await whatStands(), await rowCounts()];
  const faults: string[] = [];
  const cursors = await cursorInjections();
  expect(new Set(cursors.map(({ method }) => method.name)).size).toBeGreaterThan(5);
  const injections = [...everyMethod.flatMap(injectionsOf), ...cursors];
  expect(injections.length).toBeGreaterThan(800);
  await inParallel(injections, 8, async (injection) => {
    const { code, message } = await send(injection);
    if (["Internal", "Unknown", "DataLoss", "Unavailable", "DeadlineExceeded"].includes(code)) {
      faults.push(
        `${injection.method.name}.${injection.slot.path} ${String(injection.value).slice(0, 60)}: ${code} ${message}`,
      );
    }
  });
  expect(faults).toEqual([]);
  const log = await statements.read();
  const lines = log.split("\n").filter((line) => line.includes(marker));
  // Every service was asked, and the log shows what is part of a statement, or these tests could not fail.
  expect(lines.shift()).toContain(`select 'control ${marker}'`);
  for (const table of ["auth.users", "user_quota.accounts", "node_registry.storage_nodes"])
    expect(log).toContain(table);
  expect(lines).toEqual([]);
  expect(log).not.toMatch(/syntax error|pg_sleep/i);
  expect(await whatStands()).toEqual(before);
  const countsAfter = await rowCounts();
  const shrunk = [...countsBefore].filter(([table, count]) => (countsAfter.get(table) ?? -1) < count);
  expect(shrunk).toEqual([]);
}, 120_000);
