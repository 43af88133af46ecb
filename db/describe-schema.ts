import type pg from "pg";

/**
 * A schema as text, made from the catalog, the same for every supported version of PostgreSQL (pg_dump's output is
 * not). Partitions of single days are left out: they come and go.
 */
export async function describeSchema(client: pg.ClientBase, schema: string): Promise<string> {
  const sections: string[] = [];
  for (const [title, query] of Object.entries(sectionQueries)) {
    const { rows } = await client.query<{ line: string }>({ text: query, values: [schema] });
    if (rows.length > 0) sections.push(`-- ${title}\n${rows.map(({ line }) => line).join("\n")}\n`);
  }
  return sections.join("\n");
}

const relation = `
  from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where n.nspname = $1 and c.relname !~ '_p[0-9]{8}$'`;

const sectionQueries = {
  domains: `
    select format('%s as %s%s %s', t.typname, format_type(t.typbasetype, t.typtypmod),
      case when t.typnotnull then ' not null' else '' end,
      (select string_agg(format('%s %s', conname, pg_get_constraintdef(oid)), ' ' order by conname)
       from pg_constraint where contypid = t.oid and contype = 'c')) as line
    from pg_type as t join pg_namespace as n on n.oid = t.typnamespace
    where n.nspname = $1 and t.typtype = 'd' order by t.typname`,
  enums: `
    select format('%s (%s)', t.typname,
      (select string_agg(enumlabel, ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid)) as line
    from pg_type as t join pg_namespace as n on n.oid = t.typnamespace
    where n.nspname = $1 and t.typtype = 'e' order by t.typname`,
  sequences: `
    select format('%s as %s increment %s', sequencename, data_type, increment_by) as line
    from pg_sequences where schemaname = $1 order by sequencename`,
  tables: `
    select format(E'%s%s%s%s%s', c.relname,
      case when c.relkind = 'p' then ' partition by ' || lower(pg_get_partkeydef(c.oid)) else '' end,
      coalesce(' partition of ' || (select inhparent::regclass::text from pg_inherits where inhrelid = c.oid)
        || ' ' || lower(pg_get_expr(c.relpartbound, c.oid)), ''),
      coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''),
      case when c.relispartition then '' else (select E' (\\n' || string_agg(format('  %s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
         case when a.attnotnull then ' not null' else '' end,
         case when a.attidentity <> '' then ' generated as identity'
              when a.attgenerated <> '' then ' generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ')'
              else coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') end,
         case when a.attcollation <> t.typcollation then ' collate "' || (select collname from pg_collation where oid = a.attcollation) || '"' else '' end),
         E',\\n' order by a.attnum) || E'\\n)'
       from pg_attribute as a join pg_type as t on t.oid = a.atttypid
       left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) end) as line
    ${relation} and c.relkind in ('r', 'p') order by c.relname`,
  constraints: `
    select format('%s: %s %s', c.relname, k.conname, pg_get_constraintdef(k.oid)) as line
    from pg_constraint as k join pg_class as c on c.oid = k.conrelid join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = $1 and k.contype <> 'n' and k.conparentid = 0 and not c.relispartition
    order by c.relname, k.conname`,
  indexes: `
    select pg_get_indexdef(c.oid) as line
    ${relation} and c.relkind in ('i', 'I') and not c.relispartition
      and not exists (select from pg_constraint where conindid = c.oid)
      and not exists (select from pg_index as i join pg_class as t on t.oid = i.indrelid
                      where i.indexrelid = c.oid and t.relispartition)
    order by c.relname`,
  views: `
    select format(E'%s as\\n%s', c.relname, pg_get_viewdef(c.oid, true)) as line
    ${relation} and c.relkind in ('v', 'm') order by c.relname`,
  functions: `
    select pg_get_functiondef(p.oid) as line
    from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = $1 order by p.proname, pg_get_function_identity_arguments(p.oid)`,
  triggers: `
    select pg_get_triggerdef(t.oid) as line
    from pg_trigger as t join pg_class as c on c.oid = t.tgrelid join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = $1 and not t.tgisinternal and t.tgparentid = 0 order by c.relname, t.tgname`,
  "rights of other roles than the owner": `
    with objects (kind, name, owner, acl) as (
      select 'schema', n.nspname::text, n.nspowner, n.nspacl from pg_namespace as n where n.nspname = $1
      union all
      select case c.relkind when 'S' then 'sequence' else 'table' end, c.relname, c.relowner, c.relacl ${relation}
      union all
      select 'column', c.relname || '.' || a.attname, c.relowner, a.attacl
      from pg_attribute as a join pg_class as c on c.oid = a.attrelid join pg_namespace as n on n.oid = c.relnamespace
      where n.nspname = $1 and a.attacl is not null and c.relname !~ '_p[0-9]{8}$'
      union all
      select 'function', p.proname, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
      from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace where n.nspname = $1
    )
    select format('%s %s: %s may %s', kind, name, coalesce(r.rolname, 'everybody'),
      lower(string_agg(a.privilege_type, ', ' order by a.privilege_type))) as line
    from objects cross join lateral aclexplode(acl) as a left join pg_roles as r on r.oid = a.grantee
    where a.grantee <> owner and a.privilege_type <> 'MAINTAIN'
    group by kind, name, r.rolname order by kind, name, r.rolname`,
} as const;
