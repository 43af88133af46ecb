-- Reputation: the evidence, and what the formula makes of it.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Where each node stands: the score and the running values of the formula after the last entry that was applied.
-- storage_nodes has a copy of the score for everybody else.
create table node_registry.node_reputations (
  node_id bigint not null,
  formula text not null default '',
  score double precision not null default 1,
  -- The score as it were without timeouts: what a node is shut out by.
  proven_score double precision not null default 1,
  formula_values jsonb not null default '{}',
  -- Since when the score is below the threshold of disqualification.
  below_since timestamptz,
  applied_evidence_id bigint not null default 0,
  -- Whether there are entries after that one.
  is_pending boolean not null default false,
  -- Successes while the score was full: they become one entry when something else happens, instead of one each.
  unlogged_successes bigint not null default 0,
  constraint node_reputations__pkey primary key (node_id),
  constraint node_reputations__node_exists foreign key (node_id) references node_registry.storage_nodes (id),
  constraint node_reputations__score_range check (score between 0 and 1 and proven_score between 0 and 1),
  constraint node_reputations__successes_not_negative check (unlogged_successes >= 0)
) with (fillfactor = 70);
create index node_reputations__pending on node_registry.node_reputations (node_id) where is_pending;

-- The log that scores can be computed from again, by this formula or another one. Ids of one node are drawn under its
-- row lock in node_reputations, so they are the order of commits. The service may only add to it.
create table node_registry.reputation_evidence (
  id bigint generated always as identity,
  node_id bigint not null,
  kind text not null,
  -- So many of one kind in a row.
  count integer not null default 1,
  occurred_at timestamptz not null,
  chunk_hash node_registry.sha256,
  command_id uuid,
  actor text not null default '',
  reason text not null default '',
  constraint reputation_evidence__pkey primary key (id),
  constraint reputation_evidence__node_exists foreign key (node_id) references node_registry.storage_nodes (id),
  constraint reputation_evidence__kind_known check (
    kind in ('proof_succeeded', 'proof_failed', 'proof_timed_out', 'proof_invalid', 'loss_reported', 'reset')),
  constraint reputation_evidence__count_positive check (count > 0)
);
create index reputation_evidence__node on node_registry.reputation_evidence (node_id, id);

grant select, insert, update on node_registry.node_reputations to node_registry_app;
grant select, insert on node_registry.reputation_evidence to node_registry_app;
