-- How far each consumer has read its stream. What the broker remembers of it moves on by itself when messages are dropped, so
-- that nobody could tell whether those had been read. Code before this works on.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

create table user_quota.inbox_positions (
  consumer text not null,
  stream_created_at timestamptz not null,
  read_up_to bigint not null,
  read_at timestamptz not null default now(),
  constraint inbox_positions__pkey primary key (consumer)
);

grant select, insert, update on user_quota.inbox_positions to user_quota_app;
