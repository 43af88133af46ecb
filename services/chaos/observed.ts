import pg from "pg";
import { z } from "zod";
import { readTold, type Told } from "./told.ts";

/** What the system says of itself in the end, read by an operator from the three schemas. */
export interface Observed {
  readonly users: readonly { readonly userId: string; readonly username: string; readonly isActive: boolean }[];
  readonly accounts: readonly {
    readonly userId: string;
    readonly used: bigint;
    readonly reserved: bigint;
    readonly limit: bigint;
    readonly ledgerSum: bigint;
  }[];
  /** Charges and refunds by chunk and generation. */
  readonly ledger: readonly {
    readonly userId: string;
    readonly chunkHash: string;
    readonly generation: number;
    readonly kind: string;
    readonly delta: bigint;
  }[];
  /** Use and limit after each entry of the ledger, by user and in order. */
  readonly balances: readonly {
    readonly userId: string;
    readonly kind: string;
    readonly used: bigint;
    readonly limit: bigint;
  }[];
  readonly told: Told;
  /** Reservations that have not ended. */
  readonly openReservations: readonly string[];
  /** Reservations whose count of what was posted to them is not the ledger's. */
  readonly misposted: readonly string[];
  /** Entries that the reconciler had to make. */
  readonly adjustments: number;
  readonly chunks: readonly {
    readonly chunkHash: string;
    readonly ownerId: string;
    readonly sizeBytes: bigint;
    readonly generation: number;
    readonly hasQuorum: boolean;
    readonly isReleased: boolean;
  }[];
  readonly usage: readonly { readonly userId: string; readonly bytes: bigint }[];
  /** "node hash" of replicas that count. */
  readonly replicas: ReadonlySet<string>;
  /** What the registry holds against nodes. */
  readonly punishments: readonly string[];
  readonly uploads: ReadonlyMap<string, string>;
  readonly nodeStates: ReadonlyMap<string, string>;
  readonly liveness: ReadonlyMap<string, string>;
  readonly outbox: readonly OutboxRow[];
  readonly deadLetters: number;
  readonly residentMiB: ReadonlyMap<string, number>;
  readonly crashes: readonly string[];
}

export interface OutboxRow {
  readonly schema: string;
  readonly id: number;
  readonly eventId: string;
  readonly key: string;
  readonly keyVersion: number;
  readonly type: string;
  readonly subject: string;
  readonly createdAtMs: number;
  readonly isPublished: boolean;
}

const text = z.string();
const big = z.string().transform(BigInt);
const flag = z.boolean();

const outboxQuery = (schema: string) => `
  select '${schema}' as schema, id::float8 as id, event_id as "eventId", key, key_version::float8 as "keyVersion",
    type, subject, extract(epoch from created_at)::float8 * 1000 as "createdAtMs", published_at is not null as "isPublished"
  from ${schema}.outbox`;

const outboxRow = z.object({
  schema: text,
  id: z.number(),
  eventId: text,
  key: text,
  keyVersion: z.number(),
  type: text,
  subject: text,
  createdAtMs: z.number(),
  isPublished: flag,
});

export type DatabaseTruth = Omit<Observed, "deadLetters" | "residentMiB" | "crashes">;

export async function observeDatabase(operatorUrl: string): Promise<DatabaseTruth> {
  const client = new pg.Client({ connectionString: operatorUrl });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  const read = async <T>(row: z.ZodType<T>, query: string): Promise<T[]> =>
    z.array(row).parse((await client.query(query)).rows);
  try {
    // One moment of all three schemas.
    await client.query("begin isolation level repeatable read read only");
    return {
      users: await read(
        z.object({ userId: text, username: text, isActive: flag }),
        `select id as "userId", username, is_active as "isActive" from auth.users where not is_admin`,
      ),
      accounts: await read(
        z.object({ userId: text, used: big, reserved: big, limit: big, ledgerSum: big }),
        `select a.user_id as "userId", storage_used_bytes as used, storage_reserved_bytes as reserved,
           a.storage_quota_bytes as limit, coalesce(sum(delta_bytes), 0)::text as "ledgerSum"
         from user_quota.accounts a left join user_quota.ledger_entries e on e.user_id = a.user_id group by a.user_id`,
      ),
      ledger: await read(
        z.object({ userId: text, chunkHash: text, generation: z.number(), kind: text, delta: big }),
        `select user_id as "userId", encode(chunk_hash, 'hex') as "chunkHash", generation, kind, delta_bytes as delta
         from user_quota.ledger_entries where chunk_hash is not null`,
      ),
      misposted: (
        await read(
          z.object({ what: text }),
          `select r.reservation_id || ': ' || r.posted_bytes || ' posted, charges of ' || coalesce(c.bytes, 0) as what
           from user_quota.reservations r left join (
             select reservation_id, sum(delta_bytes) as bytes from user_quota.ledger_entries where kind = 'charge' group by 1
           ) c on c.reservation_id = r.reservation_id
           where r.posted_bytes <> coalesce(c.bytes, 0)
             -- A chunk that is released before its quorum is heard of is posted and never charged.
             and not exists (
               select from user_quota.charges f where f.user_id = r.user_id and not exists (
                 select from user_quota.ledger_entries e where e.user_id = f.user_id
                   and e.chunk_hash = f.chunk_hash and e.generation = f.generation and e.kind like '%charge'))`,
        )
      ).map(({ what }) => what),
      balances: await read(
        z.object({ userId: text, kind: text, used: big, limit: big }),
        `select user_id as "userId", kind, used_after_bytes as used, storage_quota_bytes as limit
         from user_quota.ledger_entries order by user_id, entry_id`,
      ),
      told: await readTold(read),
      openReservations: (
        await read(
          z.object({ what: text }),
          `select reservation_id || ' of user ' || user_id || ' is ' || state as what
           from user_quota.reservations where state in ('held', 'closing')`,
        )
      ).map(({ what }) => what),
      adjustments: (await read(z.object({}), "select 1 from user_quota.ledger_entries where kind = 'adjustment'"))
        .length,
      chunks: await read(
        z.object({
          chunkHash: text,
          ownerId: text,
          sizeBytes: big,
          generation: z.number(),
          hasQuorum: flag,
          isReleased: flag,
        }),
        `select encode(chunk_hash, 'hex') as "chunkHash", owner_id as "ownerId", size_bytes as "sizeBytes", generation,
           quorum_at is not null as "hasQuorum", released_at is not null as "isReleased" from node_registry.chunks`,
      ),
      usage: await read(
        z.object({ userId: text, bytes: big }),
        `select user_id as "userId", charged_bytes as bytes from node_registry.user_usage`,
      ),
      replicas: new Set(
        (
          await read(
            z.object({ replica: text }),
            `select encode(n.node_id, 'hex') || ' ' || encode(s.chunk_hash, 'hex') as replica
             from node_registry.chunk_storage s join node_registry.storage_nodes n on n.id = s.node_id
             where stored_at is not null`,
          )
        ).map(({ replica }) => replica),
      ),
      punishments: (
        await read(
          z.object({ what: text }),
          `select e.kind || ' of ' || coalesce(encode(e.chunk_hash, 'hex'), 'no chunk') || ' by ' || encode(n.node_id, 'hex') as what
           from node_registry.reputation_evidence e join node_registry.storage_nodes n on n.id = e.node_id
           where e.kind not in ('proof_succeeded', 'reset')`,
        )
      ).map(({ what }) => what),
      uploads: await readMap(read, "select upload_id as name, state as value from node_registry.uploads"),
      nodeStates: await readMap(
        read,
        "select encode(node_id, 'hex') as name, state as value from node_registry.storage_nodes",
      ),
      liveness: await readMap(
        read,
        `select encode(n.node_id, 'hex') as name, l.liveness as value
         from node_registry.node_leases l join node_registry.storage_nodes n on n.id = l.node_row_id`,
      ),
      outbox: [
        ...(await read(outboxRow, outboxQuery("auth"))),
        ...(await read(outboxRow, outboxQuery("user_quota"))),
        ...(await read(outboxRow, outboxQuery("node_registry"))),
      ],
    };
  } finally {
    await client.end();
  }
}

type Read = <T>(row: z.ZodType<T>, query: string) => Promise<T[]>;

async function readMap(read: Read, query: string): Promise<Map<string, string>> {
  const rows = await read(z.object({ name: text, value: text }), query);
  return new Map(rows.map(({ name, value }) => [name, value]));
}
