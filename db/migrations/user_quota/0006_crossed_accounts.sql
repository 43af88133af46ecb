set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Whoever has used 80 % has crossed a threshold, so ListAccounts looks for the fullest accounts here and not among all.
-- The column changes only when a threshold is crossed or re-armed: counting stays a HOT update.
create index accounts__crossed on user_quota.accounts (user_id) where threshold_percent > 0;
