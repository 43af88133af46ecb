import { createPrivateKey, randomBytes } from "node:crypto";
import { rotateKeys } from "./key-rotation.worker.ts";
import type { RotationRules } from "./rotation.ts";
import { secretFor } from "./secrets.store.ts";
import { type KeyDeps, type Keyring, type PublicJwk, type SigningKey, signingKeyPurpose } from "./signing-key.ts";
import { listSigningKeys, type SigningKeyRow } from "./signing-keys.store.ts";

/** Reads the keys, and makes the first ones in an empty database. */
export async function openKeyring(deps: KeyDeps, rules: RotationRules): Promise<Keyring> {
  await rotateKeys(deps, rules);
  let keys = await load(deps);
  return {
    current: () => keys.current,
    find: (keyId) => keys.byId.get(keyId),
    published: () => keys.published,
    reload: async () => {
      keys = await load(deps);
    },
  };
}

/** The service's own symmetric key for one purpose, made at the first start and sealed in the database. */
export async function openSecret(deps: KeyDeps, purpose: string): Promise<Buffer> {
  const label = `secret:${purpose}`;
  const fresh = deps.sealing.seal(randomBytes(32), label);
  return deps.sealing.open(await secretFor(deps.pool, purpose, fresh, deps.clock.now()), label);
}

interface LoadedKeys {
  readonly current: SigningKey;
  readonly byId: ReadonlyMap<string, SigningKey>;
  readonly published: readonly PublicJwk[];
}

async function load(deps: KeyDeps): Promise<LoadedKeys> {
  const rows = await listSigningKeys(deps.pool);
  const byId = new Map(rows.map((row) => [row.keyId, openKey(row, deps.sealing)]));
  const current = byId.get(rows.find((row) => row.state === "current")?.keyId ?? "");
  if (current === undefined) throw new Error("auth.signing_keys holds no current key");
  return { current, byId, published: rows.map(toJwk) };
}

function openKey(row: SigningKeyRow, sealing: KeyDeps["sealing"]): SigningKey {
  const d = sealing.open(row.privateKeySealed, signingKeyPurpose(row.keyId)).toString("base64url");
  const x = row.publicKey.toString("base64url");
  const privateKey = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", x, d }, format: "jwk" });
  return { keyId: row.keyId, privateKey };
}

function toJwk(row: SigningKeyRow): PublicJwk {
  const x = row.publicKey.toString("base64url");
  return { kty: "OKP", crv: "Ed25519", x, kid: row.keyId, alg: "EdDSA", use: "sig" };
}
