set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Failed logins by name and by (name, address). Keys are MACs: names that nobody has are here too, and people type
-- passwords into the wrong field. An attempt is in flight from before its hash until its outcome is known; one whose
-- process died counts as failed after `in_flight_until`.
create table auth.login_throttles (
  key auth.sha256 not null,
  failures integer not null default 0,
  last_failure_at timestamptz,
  in_flight integer not null default 0,
  in_flight_until timestamptz,
  -- (name, address) only: a login succeeded from there, so strangers' failures elsewhere do not lock it out.
  trusted_until timestamptz,
  constraint login_throttles__pkey primary key (key),
  constraint login_throttles__failures_not_negative check (failures >= 0),
  constraint login_throttles__in_flight_not_negative check (in_flight >= 0),
  constraint login_throttles__failures_dated check (failures = 0 or last_failure_at is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Rates per address (GCRA: the instant at which the bucket is full again). Losing them in a crash costs one burst, and
-- being unlogged they cost no WAL.
create unlogged table auth.rate_limits (
  key auth.sha256 not null,
  full_at timestamptz not null,
  constraint rate_limits__pkey primary key (key)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

grant select, insert, update, delete on auth.login_throttles, auth.rate_limits to auth_app;

-- The arithmetic of rule 5.6, the same as in services/auth/throttle/backoff.ts, so that one statement can admit an
-- attempt. Failures are halved per hour of quiet.
create function auth.counted_failures(failures integer, last_failure_at timestamptz, at timestamptz) returns integer
  language sql immutable parallel safe
  as $$
    select case
      when last_failure_at is null then failures
      when extract(epoch from at - last_failure_at) >= 31 * 3600 then 0
      else floor(failures / power(2, floor(greatest(extract(epoch from at - last_failure_at), 0) / 3600)))::integer
    end
  $$;

-- Ten failures are free, then the wait doubles from one second to 15 minutes.
create function auth.wait_after(failures integer) returns interval
  language sql immutable parallel safe
  as $$
    select case
      when failures < 10 then interval '0'
      else least(interval '15 minutes', interval '1 second' * power(2, least(failures - 10, 20)))
    end
  $$;
