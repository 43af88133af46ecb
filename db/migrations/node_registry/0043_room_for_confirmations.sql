-- A node that reports a thousand chunks confirms every row of a page in one transaction, whose old versions cannot make
-- room before it ends. With 30 % of a page free, 54 % of these updates moved to another page and wrote into a random page
-- of the index, each of which goes into the WAL whole after a checkpoint: with 6 million replicas 3.4 MB for a thousand
-- confirmations, now 0.1 MB. Half a page takes all of them. Old pages stay as they are.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

alter table node_registry.chunks set (fillfactor = 50);
