import type { Pool } from "#platform/postgres/pool.ts";
import { systemClock } from "#platform/time/clock.ts";
import { loadCommonPasswords } from "../accounts/common-passwords.ts";
import { createAdmin } from "../accounts/create-admin.event.ts";
import { createPasswordHasher } from "../accounts/password-hash.ts";
import { bearer, type TestAuth } from "./start-test-auth.ts";

export const testPassword = "a long and unusual phrase";

export interface SignedIn {
  readonly userId: string;
  readonly headers: ReturnType<typeof bearer>;
}

export async function signIn(auth: TestAuth, username: string): Promise<SignedIn> {
  const { user, tokens } = await auth.auth.login({ username, password: testPassword });
  return { userId: user?.userId ?? "", headers: bearer(tokens?.accessToken) };
}

/** Made as the command makes the first one. */
export async function newAdmin(auth: TestAuth, pool: Pool, username: string): Promise<SignedIn> {
  const hasher = await createPasswordHasher({ memoryKib: 7_168, passes: 1, lanes: 1 });
  const passwordPolicy = { minLength: 12, common: loadCommonPasswords() };
  await createAdmin({ pool, clock: systemClock, hasher, passwordPolicy }, { username, password: testPassword });
  return await signIn(auth, username);
}
