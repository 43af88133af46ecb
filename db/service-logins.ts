import type pg from "pg";

/** Logins of services that stand for application roles, such as `auth_app_2` while a password is being rotated. */
export async function loginsWithRightsOf(client: pg.ClientBase, appRoles: readonly string[]) {
  const { rows } = await client.query<{ name: string }>(
    // Members of the owner too are logins of operators.
    `select login.rolname::text as name
     from pg_auth_members as m
     join pg_roles as app on app.oid = m.roleid
     join pg_roles as login on login.oid = m.member
     where app.rolname = any ($1) and login.rolcanlogin and not login.rolsuper and not exists (
       select from pg_auth_members as o join pg_roles as owner on owner.oid = o.roleid
       where o.member = login.oid and owner.rolname = regexp_replace(app.rolname, '_app$', '_owner'))
     order by 1`,
    [appRoles],
  );
  return rows.map(({ name }) => name);
}
