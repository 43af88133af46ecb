import pg from "pg";
import type { TestDatabase } from "#platform/testing/test-database.ts";

/** The events of one key in the outbox, in order: `word` is the subject's, such as "online". */
export async function eventsOf(db: TestDatabase, key: string): Promise<{ word: string; keyVersion: bigint }[]> {
  const client = new pg.Client({ connectionString: db.url("superuser") });
  await client.connect();
  try {
    const { rows } = await client.query<{ subject: string; key_version: string }>(
      "select subject, key_version from node_registry.outbox where key = $1 order by id",
      [key],
    );
    return rows.map((row) => ({ word: row.subject.split(".")[2] ?? "", keyVersion: BigInt(row.key_version) }));
  } finally {
    await client.end();
  }
}
