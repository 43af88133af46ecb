-- Nodes that have left are counted by every GetNetworkStats: the others are in the memory of each process.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- squawk-ignore require-concurrent-index-creation
create index storage_nodes__deregistered on node_registry.storage_nodes (id) where state = 'deregistered';
