import { lockSecrets, resealSecret } from "./secrets.store.ts";
import { type KeyDeps, signingKeyPurpose } from "./signing-key.ts";
import { lockSigningKeys, resealSigningKey } from "./signing-keys.store.ts";

/** Seals again, with the newest key encryption key, whatever an older one had sealed; returns how many. */
export async function resealKeys({ pool, sealing }: KeyDeps): Promise<number> {
  return await pool.transaction(async (tx) => {
    let resealed = 0;
    for (const { keyId, privateKeySealed } of await lockSigningKeys(tx)) {
      if (sealing.isCurrent(privateKeySealed)) continue;
      const purpose = signingKeyPurpose(keyId);
      await resealSigningKey(tx, keyId, sealing.seal(sealing.open(privateKeySealed, purpose), purpose));
      resealed += 1;
    }
    for (const { purpose, secretSealed } of await lockSecrets(tx)) {
      if (sealing.isCurrent(secretSealed)) continue;
      const label = `secret:${purpose}`;
      await resealSecret(tx, purpose, sealing.seal(sealing.open(secretSealed, label), label));
      resealed += 1;
    }
    return resealed;
  });
}
