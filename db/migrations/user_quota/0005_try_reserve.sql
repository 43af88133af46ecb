set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- The reservation that needs no thought, in one round trip instead of six: an active account, a new key, and enough room
-- even with overdue reservations still counted. Everything else answers false and changes nothing: the service then looks
-- closer, under the account's lock. The check and the hold are one conditional update, so used and reserved bytes never
-- pass the limit, however many callers race; numeric, because three bigints can overflow one.
create function user_quota.try_reserve(
  reservation uuid, owner uuid, client text, key text, size bigint, made_at timestamptz, ends_at timestamptz
) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  update user_quota.accounts
  set storage_reserved_bytes = storage_reserved_bytes + size
  where user_id = owner and state = 'active'
    and storage_used_bytes::numeric + storage_reserved_bytes + size <= storage_quota_bytes;
  if not found then
    return false;
  end if;
  insert into user_quota.reservations
    (reservation_id, user_id, client_id, idempotency_key, size_bytes, held_bytes, created_at, expires_at)
  values (reservation, owner, client, key, size, size, made_at, ends_at)
  on conflict on constraint reservations__key_once do nothing;
  if not found then
    update user_quota.accounts set storage_reserved_bytes = storage_reserved_bytes - size where user_id = owner;
    return false;
  end if;
  return true;
end
$$;

revoke all on function user_quota.try_reserve(uuid, uuid, text, text, bigint, timestamptz, timestamptz) from public;
grant execute on function user_quota.try_reserve(uuid, uuid, text, text, bigint, timestamptz, timestamptz) to user_quota_app;
