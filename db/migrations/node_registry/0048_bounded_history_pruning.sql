-- All that was too old went in one statement: after a while without upkeep more than the statement timeout allows, so nothing
-- went at all any more. And the condition called a volatile function, which no index can answer: each round read the whole
-- table. Code before this drops a batch each round.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- The limit is a constant to the planner only in a plan of its own: otherwise it guesses that a third of the table is too old.
create or replace function node_registry.prune_node_history() returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog set plan_cache_mode = force_custom_plan
  as $$
    declare
      kept_from constant timestamptz not null := node_registry.lease_clock() - interval '30 days';
      dropped bigint;
    begin
      delete from node_registry.node_history where id in (
        select id from node_registry.node_history where occurred_at < kept_from limit 10000);
      get diagnostics dropped = row_count;
      return dropped;
    end
  $$;
