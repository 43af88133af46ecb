set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Where the message lay in its stream that the consumer gave up: the event counts as dealt with, so that no redelivery
-- applies it, until it is requeued from exactly that dead letter. Null for what was applied.
alter table node_registry.inbox add column given_up_sequence bigint;
grant update (given_up_sequence) on node_registry.inbox to node_registry_app;
