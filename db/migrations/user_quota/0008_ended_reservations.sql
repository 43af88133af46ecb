-- no-transaction
set lock_timeout = '5s';
set statement_timeout = '30min';

-- The sweeper deletes reservations a while after their end, the longest ended first.
-- One that a broken run left behind is invalid.
drop index concurrently if exists user_quota.reservations__ended;
create index concurrently reservations__ended on user_quota.reservations (closed_at) where closed_at is not null;
grant delete on user_quota.reservations to user_quota_app;
