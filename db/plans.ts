import type pg from "pg";
import { z } from "zod";
import { loginsWithRightsOf } from "./service-logins.ts";

/** A statement that the services ran, with the plan that the server would take for it. */
export interface PlannedStatement {
  readonly statement: string;
  readonly calls: bigint;
  readonly meanMs: number;
  /** `users by users__username_key_unique`, or `users without an index`. */
  readonly accesses: readonly string[];
  /** Tables that are read from end to end. */
  readonly scans: readonly Scan[];
  /** Why there is no plan. */
  readonly problem: string | undefined;
}

export interface Scan {
  readonly table: string;
  /** Rows by the planner's statistics. */
  readonly rows: number;
  /** A partial index may serve it after all: its condition is compared with a constant that is not known here. */
  readonly mayUsePartialIndex: boolean;
}

interface PlanNode {
  readonly "Node Type": string;
  readonly Schema?: string | undefined;
  readonly "Relation Name"?: string | undefined;
  readonly "Index Name"?: string | undefined;
  readonly Plans?: readonly PlanNode[] | undefined;
}

const planNode: z.ZodType<PlanNode> = z.lazy(() =>
  z.object({
    "Node Type": z.string(),
    Schema: z.string().optional(),
    "Relation Name": z.string().optional(),
    "Index Name": z.string().optional(),
    Plans: z.array(planNode).optional(),
  }),
);
const planRow = z.object({ "QUERY PLAN": z.array(z.object({ Plan: planNode })) });

/**
 * What the application roles and the logins that took their places ran, from pg_stat_statements, each with its generic
 * plan. Sequential scans are priced out, because on small tables the planner prefers them: one that remains has no index
 * that could serve it.
 *
 * Needs a login that may read all statements.
 */
export async function planStatements(
  client: pg.ClientBase,
  roles: readonly string[],
): Promise<readonly PlannedStatement[]> {
  const { rows } = await client.query<{ statement: string; calls: bigint; meanMs: number; schema: string }>(
    `select query as statement, sum(calls)::bigint as calls, (sum(total_exec_time) / sum(calls))::float8 as "meanMs"
     from pg_stat_statements as s join pg_roles as r on r.oid = s.userid
     where r.rolname = any ($1) and s.dbid = (select oid from pg_database where datname = current_database())
       and query ~* '^\\s*(select|insert|update|delete|with|merge)\\M'
       and query ~* '\\m(auth|user_quota|node_registry)\\.'
     group by query order by sum(total_exec_time) desc`,
    [[...roles, ...(await loginsWithRightsOf(client, roles))]],
  );
  await client.query("set enable_seqscan = off; set plan_cache_mode = force_generic_plan");
  const facts = await tableFacts(client);
  const planned: PlannedStatement[] = [];
  for (const row of rows) planned.push(await plan(client, row, facts));
  await client.query("reset enable_seqscan; reset plan_cache_mode");
  return planned;
}

async function tableFacts(client: pg.ClientBase): Promise<ReadonlyMap<string, Omit<Scan, "table">>> {
  const { rows } = await client.query<Scan>(
    `select format('%s.%s', n.nspname, c.relname) as table, greatest(c.reltuples, 0)::float8 as rows,
       exists (select from pg_index where indrelid = c.oid and indpred is not null) as "mayUsePartialIndex"
     from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.relkind in ('r', 'p')`,
  );
  return new Map(rows.map(({ table, ...facts }) => [table, facts]));
}

async function plan(
  client: pg.ClientBase,
  row: Omit<PlannedStatement, "accesses" | "scans" | "problem">,
  facts: ReadonlyMap<string, Omit<Scan, "table">>,
): Promise<PlannedStatement> {
  const { statement, calls, meanMs } = row;
  const base = { statement: statement.replace(/\s+/g, " ").trim(), calls, meanMs };
  try {
    const result = await explain(client, statement);
    const nodes = flatten(planRow.parse(result.rows[0])["QUERY PLAN"].map(({ Plan }) => Plan));
    const scanned = nodes.filter((node) => node["Node Type"] === "Seq Scan").map(tableOf);
    const scans = [...new Set(scanned)].map((table) => ({
      table,
      ...(facts.get(table) ?? { rows: 0, mayUsePartialIndex: false }),
    }));
    return { ...base, accesses: [...new Set(nodes.flatMap(accessOf))], scans, problem: undefined };
  } catch (error) {
    return { ...base, accesses: [], scans: [], problem: error instanceof Error ? error.message : String(error) };
  }
}

/** The plan for any values; `explain (generic_plan)` would do the same, but only since PostgreSQL 16. */
async function explain(client: pg.ClientBase, statement: string): Promise<pg.QueryResult<Record<string, unknown>>> {
  const parameters = Math.max(0, ...[...statement.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number)));
  const values = parameters === 0 ? "" : `(${Array(parameters).fill("null").join(", ")})`;
  // Constants were replaced by numbers, also where only a literal may stand: interval '1 day', timestamptz '...'.
  const text = statement
    .replace(/\bextract\(\$\d+ from/gi, "extract(epoch from")
    .replace(/\b(interval|timestamptz|date|bytea|uuid) (\$\d+)/gi, "$2::$1");
  await prepare(client, text, Array<string>(parameters).fill("unknown"));
  try {
    return await client.query(`explain (verbose, format json) execute explained${values}`);
  } finally {
    await client.query("deallocate explained");
  }
}

/** Types are inferred, except those of which the text says nothing: the server names them one by one. */
async function prepare(client: pg.ClientBase, text: string, types: readonly string[]): Promise<void> {
  try {
    await client.query(`prepare explained${types.length === 0 ? "" : `(${types.join(", ")})`} as ${text}`);
  } catch (error) {
    const number = /could not determine data type of parameter \$(\d+)/.exec(String(error))?.[1];
    if (number === undefined || types[Number(number) - 1] !== "unknown") throw error;
    await prepare(client, text, types.with(Number(number) - 1, "text"));
  }
}

function flatten(nodes: readonly PlanNode[]): readonly PlanNode[] {
  return nodes.flatMap((node) => [node, ...flatten(node.Plans ?? [])]);
}

function tableOf(node: PlanNode): string {
  return `${node.Schema ?? ""}.${node["Relation Name"] ?? ""}`;
}

function accessOf(node: PlanNode): readonly string[] {
  if (node["Node Type"] === "Seq Scan") return [`${tableOf(node)} without an index`];
  const index = node["Index Name"];
  // A bitmap names the index and the table in two steps of the plan.
  if (index === undefined) return [];
  return [node["Relation Name"] === undefined ? index : `${tableOf(node)} by ${index}`];
}
