-- A process repeats what a node has to delete from memory. It looked for other hashes when their number had changed, or
-- after half a minute: where one deletion was confirmed at another process and one was added, the node was told to delete
-- what it had confirmed, for that long, and after a new upload what it had stored anew.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- How often what the node has to delete has changed.
alter table node_registry.node_holdings add column deletion_changes bigint not null default 0;
