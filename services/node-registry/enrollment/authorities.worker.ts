import type { Logger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { type AuthorityRow, insertAuthority, selectAuthorities } from "./authorities.store.ts";
import { authorityFingerprint, createAuthority, loadAuthority, type SigningAuthority } from "./certificates.ts";
import { openKey, sealKey } from "./sealed-key.ts";

const AUTHORITY_TTL_MS = 10 * 365 * 86_400_000;
const KEY_PURPOSE = "node_registry.certificate_authorities";

export interface Authority extends SigningAuthority {
  readonly id: bigint;
  readonly state: AuthorityRow["state"];
  readonly stateSince: Temporal.Instant;
  readonly expiresAt: Temporal.Instant;
}

/** The network's certificate authorities, as this process knows them. */
export interface Authorities {
  /** Signs new node certificates. */
  issuing(): Authority;
  /**
   * Signs server certificates: while one is retiring still that one, because nodes that have not renewed know no other.
   */
  serving(): Authority;
  /** Everything that nodes and servers may be signed by. */
  trusted(): readonly Authority[];
  /** What nodes are given: all trusted certificates in PEM, the issuing one first, because join tokens name that one. */
  bundlePem(): string;
  /** In hex; for join tokens: the issuing authority, which stays trusted longest. */
  pin(): string;
  /** Reads them again; true where something changed. */
  refresh(): Promise<boolean>;
}

export interface AuthoritiesDeps {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Logger;
  /** The current key first; the others only open what was sealed before. */
  readonly encryptionKeys: readonly [Uint8Array, ...Uint8Array[]];
}

/** Loads the authorities, after making the first one where there is none. */
export async function openAuthorities(deps: AuthoritiesDeps): Promise<Authorities> {
  let rows = await selectAuthorities(deps.pool);
  if (!rows.some((row) => row.state === "active")) {
    if (await createStoredAuthority(deps, "active")) deps.log.info("made the certificate authority for storage nodes");
    rows = await selectAuthorities(deps.pool);
  }
  let known = await load(deps, rows);
  const first = (...wanted: AuthorityRow["state"][]) => {
    const found = known.find((authority) => wanted.includes(authority.state));
    if (found === undefined) throw new Error("there is no active certificate authority");
    return found;
  };
  const serving = () => known.find((authority) => authority.state === "retiring") ?? first("active");
  return {
    issuing: () => first("active"),
    serving,
    trusted: () => known,
    bundlePem: () =>
      [first("active"), ...known.filter((authority) => authority.state !== "active")]
        .map((authority) => authority.certificatePem)
        .join(""),
    pin: () => authorityFingerprint(first("active").certificateDer),
    refresh: async () => {
      const fresh = await selectAuthorities(deps.pool);
      if (signatureOf(fresh) === signatureOf(known)) return false;
      known = await load(deps, fresh);
      return true;
    },
  };
}

/** A new authority with its key sealed; false where another process was faster. */
export async function createStoredAuthority(deps: AuthoritiesDeps, state: "active" | "announced"): Promise<boolean> {
  const from = deps.clock.now();
  const created = await createAuthority({ from, ttlMs: AUTHORITY_TTL_MS });
  return insertAuthority(deps.pool, {
    state,
    certificateDer: created.certificateDer,
    encryptedPrivateKey: sealKey(created.pkcs8, deps.encryptionKeys[0], KEY_PURPOSE),
    expiresAt: from.add({ milliseconds: AUTHORITY_TTL_MS }),
  });
}

async function load(deps: AuthoritiesDeps, rows: readonly AuthorityRow[]): Promise<Authority[]> {
  return Promise.all(
    rows.map(async (row) => {
      const pkcs8 = openKey(row.encrypted_private_key, deps.encryptionKeys, KEY_PURPOSE);
      if (pkcs8 === undefined) {
        throw new Error(
          `KEY_ENCRYPTION_KEY does not open the key of certificate authority ${row.id}: set the key that it was made ` +
            "with, or give that one as KEY_ENCRYPTION_KEY_PREVIOUS",
        );
      }
      const signing = await loadAuthority(row.certificate_der, pkcs8);
      return { ...signing, id: row.id, state: row.state, stateSince: row.state_since, expiresAt: row.expires_at };
    }),
  );
}

function signatureOf(authorities: readonly { readonly id: bigint; readonly state: string }[]): string {
  return authorities.map((authority) => `${authority.id}:${authority.state}`).join();
}
