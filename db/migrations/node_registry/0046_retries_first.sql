-- A retry is asked for before whatever else is due, or a node with much that is due would not miss it for days.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Those of a node that were struck lately. The table is small: one row per miss that is still to be asked again.
-- squawk-ignore require-concurrent-index-creation
create index proof_strikes__node on node_registry.proof_strikes (node_id, struck_at);
