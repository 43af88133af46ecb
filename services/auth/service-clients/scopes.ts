/** What a service may be allowed: the scopes that the access options of all RPCs name. */
export const allScopes = [
  "quota.read",
  "quota.reserve",
  "chunks.read",
  "chunks.write",
  "nodes.read",
  "usage.read",
] as const;

/** The rule that a list of scopes breaks, or undefined. */
export function scopesProblem(scopes: readonly string[]): string | undefined {
  if (scopes.length === 0) return "must have at least one entry";
  if (scopes.some((scope) => !allScopes.some((known) => known === scope))) {
    return `must only contain ${allScopes.join(", ")}`;
  }
  return new Set(scopes).size === scopes.length ? undefined : "must not name a scope twice";
}
