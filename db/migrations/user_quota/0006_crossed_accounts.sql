-- no-transaction
set lock_timeout = '5s';
set statement_timeout = '30min';

-- Whoever has used 80 % has crossed a threshold, so ListAccounts looks for the fullest accounts here and not among all.
-- The column changes only when a threshold is crossed or re-armed: counting stays a HOT update.
-- One that a broken run left behind is invalid.
drop index concurrently if exists user_quota.accounts__crossed;
create index concurrently accounts__crossed on user_quota.accounts (user_id) where threshold_percent > 0;
