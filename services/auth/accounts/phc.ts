/** What a stored password hash says about itself. */
export type HashFormat =
  | { readonly kind: "argon2id"; readonly memoryKib: number; readonly passes: number; readonly lanes: number }
  | { readonly kind: "bcrypt"; readonly cost: number }
  | { readonly kind: "unknown" };

const ARGON2ID = /^\$argon2id\$v=19\$([a-z0-9=,A-Z+/]{1,80})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/;
/** m, t and p in the order of the reference implementation or of Node's library, and the associated data. */
const PARAMETERS =
  /^m=(?<m>\d{1,10}),(?:t=(?<t>\d{1,10}),p=(?<p>\d{1,3})|p=(?<p>\d{1,3}),t=(?<t>\d{1,10}))(?:,data=.*)?$/;
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;

/**
 * Whoever writes a hash decides what checking it costs. These bounds keep every admitted hash below LOGIN_FAILURE_STEP
 * (400 ms): measured here, argon2id with 19 MiB and two passes takes 24 ms and bcrypt with cost 12 takes 194 ms.
 */
const bounds = {
  argon2: { minMemoryKib: 7_168, maxMemoryKib: 131_072, maxPasses: 16, maxLanes: 4, maxMemoryTimesPasses: 311_296 },
  bcrypt: { minCost: 4, maxCost: 12 },
};

export function hashFormatOf(stored: string): HashFormat {
  const argon2 = PARAMETERS.exec(ARGON2ID.exec(stored)?.[1] ?? "")?.groups;
  if (argon2 !== undefined) {
    return { kind: "argon2id", memoryKib: Number(argon2.m), passes: Number(argon2.t), lanes: Number(argon2.p) };
  }
  const bcrypt = BCRYPT.exec(stored);
  return bcrypt === null ? { kind: "unknown" } : { kind: "bcrypt", cost: Number(bcrypt[1]) };
}

/** Why a hash is not taken from another system nor checked, or undefined. Never quotes the hash. */
export function hashProblem(stored: string): string | undefined {
  if (stored.length > 255) return "is longer than 255 characters";
  const format = hashFormatOf(stored);
  switch (format.kind) {
    case "bcrypt": {
      const { minCost, maxCost } = bounds.bcrypt;
      if (format.cost >= minCost && format.cost <= maxCost) return undefined;
      return `is a bcrypt hash of cost ${format.cost}: only ${minCost} to ${maxCost} are taken`;
    }
    case "argon2id":
      return argon2Problem(format);
    case "unknown":
      return "is neither a bcrypt nor an argon2id hash";
  }
}

/** The bound that these parameters break, or undefined: of a stored hash, and of what new ones are made with. */
export function argon2Problem(
  format: Pick<HashFormat & { kind: "argon2id" }, "memoryKib" | "passes" | "lanes">,
): string | undefined {
  const limit = bounds.argon2;
  if (format.memoryKib < limit.minMemoryKib || format.memoryKib > limit.maxMemoryKib) {
    return `is an argon2id hash of ${format.memoryKib} KiB: only ${limit.minMemoryKib} to ${limit.maxMemoryKib} are taken`;
  }
  if (format.passes < 1 || format.passes > limit.maxPasses || format.lanes < 1 || format.lanes > limit.maxLanes) {
    return `is an argon2id hash with t=${format.passes}, p=${format.lanes}: at most t=${limit.maxPasses}, p=${limit.maxLanes} are taken`;
  }
  if (format.memoryKib * format.passes > limit.maxMemoryTimesPasses)
    return "is an argon2id hash that takes too long to check";
  return undefined;
}
