-- A repeat of PlaceChunks, such as after a lost answer, said that no rule had been relaxed, whatever the placement had
-- relaxed. Code before this works on; uploads placed by it have none.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

alter table node_registry.uploads add column relaxed_rules text[] not null default '{}';
