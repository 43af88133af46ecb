-- An event may be older than what the inbox keeps when it is applied: it waited in an outbox while NATS was away, or came back
-- with a backup. By its own time its row was over at once, and a redelivery was applied again. Code before this works on.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

update user_quota.partitioned_tables set settled_column = 'applied_at' where table_name = 'inbox';
