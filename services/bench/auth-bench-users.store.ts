import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";

export const benchPassword = "a long and unusual phrase";

/** Users `<prefix>-<n>` with one hash, as a database that has grown for years would hold them. */
export async function insertUsers(
  pool: Pool,
  range: { readonly prefix: string; readonly first: number; readonly last: number },
  passwordHash: string,
  isActive = true,
): Promise<void> {
  const { prefix, first, last } = range;
  await pool.query(sql.type(zVoid)`
    insert into auth.users (
      id, username, username_key, email, email_key, password_hash, salt, created_at, is_active, personal_key
    )
    select gen_random_uuid(), ${`${prefix}-`} || n, ${`${prefix}-`} || n, ${`${prefix}-`} || n || '@example.org',
      ${`${prefix}-`} || n || '@example.org', ${passwordHash}, md5(n::text), now(), ${isActive},
      decode(md5(n::text) || md5(n::text || 'x'), 'hex')
    from generate_series(${first}::int, ${last}::int) n`);
}

/** One living session for each user. */
export async function insertSessions(pool: Pool): Promise<void> {
  await pool.query(sql.type(zVoid)`
    insert into auth.sessions (
      id, user_id, created_at, rotated_at, idle_expires_at, absolute_expires_at, token_issued_at, token_key_id,
      token_is_admin
    )
    select gen_random_uuid(), id, now(), now(), now() + interval '14 days', now() + interval '30 days',
      date_trunc('second', now()), 'none', false
    from auth.users u where not exists (select from auth.sessions s where s.user_id = u.id)`);
}

export async function analyze(pool: Pool): Promise<void> {
  await pool.query(sql.type(zVoid)`analyze auth.users`);
  await pool.query(sql.type(zVoid)`analyze auth.sessions`);
}

export async function makeAdmin(pool: Pool, username: string): Promise<void> {
  await pool.query(sql.type(zVoid)`update auth.users set is_admin = true where username = ${username}`);
}
