import type pg from "pg";
import { z } from "zod";

/** A statement that the services ran, with the plan that the server would take for it. */
export interface PlannedStatement {
  readonly statement: string;
  readonly calls: bigint;
  readonly meanMs: number;
  /** `users by users__username_key_unique`, or `users without an index`. */
  readonly accesses: readonly string[];
  /** Tables that can only be read from end to end. */
  readonly scans: readonly string[];
  /** Why there is no plan. */
  readonly problem: string | undefined;
}

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string | undefined;
  readonly "Index Name"?: string | undefined;
  readonly Plans?: readonly PlanNode[] | undefined;
}

const planNode: z.ZodType<PlanNode> = z.lazy(() =>
  z.object({
    "Node Type": z.string(),
    "Relation Name": z.string().optional(),
    "Index Name": z.string().optional(),
    Plans: z.array(planNode).optional(),
  }),
);
const planRow = z.object({ "QUERY PLAN": z.array(z.object({ Plan: planNode })) });

/**
 * What the application roles ran, from pg_stat_statements, each with its generic plan. Sequential scans are priced out,
 * because on small tables the planner prefers them: one that remains has no index that could serve it.
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
    [roles],
  );
  await client.query("set enable_seqscan = off; set plan_cache_mode = force_generic_plan");
  const planned: PlannedStatement[] = [];
  for (const row of rows) planned.push(await plan(client, row));
  await client.query("reset enable_seqscan; reset plan_cache_mode");
  return planned;
}

async function plan(client: pg.ClientBase, row: Omit<PlannedStatement, "accesses" | "scans" | "problem">) {
  const { statement, calls, meanMs } = row;
  const base = { statement: statement.replace(/\s+/g, " ").trim(), calls, meanMs };
  try {
    const result = await explain(client, statement);
    const nodes = flatten(planRow.parse(result.rows[0])["QUERY PLAN"].map(({ Plan }) => Plan));
    const scans = nodes.flatMap((node) => (node["Node Type"] === "Seq Scan" ? [node["Relation Name"] ?? ""] : []));
    return { ...base, accesses: [...new Set(nodes.flatMap(accessOf))], scans: [...new Set(scans)], problem: undefined };
  } catch (error) {
    return { ...base, accesses: [], scans: [], problem: error instanceof Error ? error.message : String(error) };
  }
}

/** The plan for any values; `explain (generic_plan)` would do the same, but only since PostgreSQL 16. */
async function explain(client: pg.ClientBase, statement: string): Promise<pg.QueryResult<Record<string, unknown>>> {
  const parameters = Math.max(0, ...[...statement.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number)));
  const values = parameters === 0 ? "" : `(${Array(parameters).fill("null").join(", ")})`;
  await client.query(`prepare explained as ${statement}`);
  try {
    return await client.query(`explain (format json) execute explained${values}`);
  } finally {
    await client.query("deallocate explained");
  }
}

function flatten(nodes: readonly PlanNode[]): readonly PlanNode[] {
  return nodes.flatMap((node) => [node, ...flatten(node.Plans ?? [])]);
}

function accessOf(node: PlanNode): readonly string[] {
  if (node["Node Type"] === "Seq Scan") return [`${node["Relation Name"]} without an index`];
  const index = node["Index Name"];
  return index === undefined ? [] : [`${node["Relation Name"] ?? ""} by ${index}`.trim()];
}
