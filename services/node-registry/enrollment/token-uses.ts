import { timingSafeEqual } from "node:crypto";

export interface TokenProof {
  readonly joinTokenId: string;
  readonly secretHash: Uint8Array;
}

/** The uses of the tokens that a transaction has locked. */
export interface TokenUses {
  /** False where the token is none of them, its secret is another one, or it is used up. */
  take(proof: TokenProof): boolean;
  giveBack(proof: TokenProof): void;
  /** How often each was taken. */
  taken(): ReadonlyMap<string, number>;
}

export function createTokenUses(
  locked: readonly {
    readonly join_token_id: string;
    readonly secret_hash: Uint8Array;
    readonly uses_left: number | null;
  }[],
): TokenUses {
  const tokens = new Map(locked.map((token) => [token.join_token_id, token]));
  const taken = new Map<string, number>();
  return {
    take: ({ joinTokenId, secretHash }) => {
      const token = tokens.get(joinTokenId);
      const used = taken.get(joinTokenId) ?? 0;
      if (token === undefined || !timingSafeEqual(token.secret_hash, secretHash)) return false;
      if (token.uses_left !== null && used >= token.uses_left) return false;
      taken.set(joinTokenId, used + 1);
      return true;
    },
    giveBack: ({ joinTokenId }) => {
      taken.set(joinTokenId, (taken.get(joinTokenId) ?? 1) - 1);
    },
    taken: () => taken,
  };
}
