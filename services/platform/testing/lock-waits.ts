import { setTimeout as delay } from "node:timers/promises";
import { connectClient } from "../postgres/client.ts";

/**
 * The longest time in ms that a statement of this role waited for a table's lock, looking every few milliseconds until
 * the signal fires. The server's own account, because on a busy machine every statement is slow now and then.
 */
export async function longestLockWait(superuserUrl: string, role: string, signal: AbortSignal): Promise<number> {
  const client = await connectClient(superuserUrl, { applicationName: "test" });
  let longest = 0;
  while (!signal.aborted) {
    const { rows } = await client.query<{ ms: number | null }>(
      `select extract(epoch from max(clock_timestamp() - l.waitstart))::float8 * 1000 as ms
       from pg_locks as l join pg_stat_activity as a using (pid)
       where not l.granted and l.locktype = 'relation' and a.usename = $1`,
      [role],
    );
    longest = Math.max(longest, rows[0]?.ms ?? 0);
    await delay(5);
  }
  await client.end();
  return longest;
}
