import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import { type Access, Caller as AccessCaller, access } from "#gen/decentrastore/options/v1/options_pb.ts";
import type { Caller } from "./caller.ts";
import { accessDenied, type RpcError, unauthenticated } from "./errors.ts";

/** Who may call one method. */
export interface AccessRule {
  /** Whether nobody's credentials are looked at, because everybody is admitted. */
  readonly isPublic: boolean;
  /** Whether some callers are admitted only where the request's user_id is their own. */
  readonly needsRequest: boolean;
  /** Decides without the request: an entry SELF counts as fitting for any user. */
  admits(caller: Caller): RpcError | undefined;
  /** Decides with the request. */
  admitsRequest(caller: Caller, request: unknown): RpcError | undefined;
}

const everybody: AccessRule = {
  isPublic: true,
  needsRequest: false,
  admits: () => undefined,
  admitsRequest: () => undefined,
};

/**
 * The rule that a method declares by the option `decentrastore.options.v1.access`. Throws where it declares none: a
 * forgotten option must stop the service at its start and not open or close an RPC silently. `grpc.*` is exempt.
 */
export function accessRuleOf(method: DescMethod): AccessRule {
  if (method.parent.typeName.startsWith("grpc.")) return everybody;
  const entries = getOption(method, access);
  const name = `${method.parent.typeName}.${method.name}`;
  if (entries.length === 0) throw new Error(`${name} declares no decentrastore.options.v1.access`);
  for (const entry of entries) assertMeaningful(name, method, entry);
  if (entries.some((entry) => entry.caller === AccessCaller.PUBLIC)) return everybody;
  return {
    isPublic: false,
    needsRequest: entries.some((entry) => entry.caller === AccessCaller.SELF),
    admits: (caller) => decide(caller, (entry) => fits(entry, caller), entries),
    admitsRequest: (caller, request) =>
      decide(
        caller,
        (entry) => fits(entry, caller) && (entry.caller !== AccessCaller.SELF || isAbout(caller, request)),
        entries,
      ),
  };
}

/** Throws at once for the first method of the service without a usable access rule. */
export function assertAccessDeclared(service: DescService): void {
  for (const method of service.methods) accessRuleOf(method);
}

function assertMeaningful(name: string, method: DescMethod, entry: Access): void {
  if (!(entry.caller in KNOWN_CALLERS)) throw new Error(`${name} declares access for an unknown caller`);
  if ((entry.caller === AccessCaller.SERVICE) !== (entry.scope !== "")) {
    throw new Error(`${name}: SERVICE needs a scope, and no other caller has one`);
  }
  if (entry.caller !== AccessCaller.SELF) return;
  if (method.input.field.userId === undefined) throw new Error(`${name} declares SELF without a user_id to compare`);
  if (method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming") {
    throw new Error(`${name} declares SELF, but a stream of requests may name several users`);
  }
}

const KNOWN_CALLERS: Readonly<Record<number, true>> = {
  [AccessCaller.PUBLIC]: true,
  [AccessCaller.USER]: true,
  [AccessCaller.SELF]: true,
  [AccessCaller.ADMIN]: true,
  [AccessCaller.SERVICE]: true,
  [AccessCaller.NODE]: true,
};

function decide(caller: Caller, fitting: (entry: Access) => boolean, entries: readonly Access[]): RpcError | undefined {
  if (entries.some(fitting)) return undefined;
  if (caller.kind === "anonymous") {
    return unauthenticated("TOKEN_MISSING", "this call needs an access token: Authorization: Bearer <token>");
  }
  return accessDenied(`this call is open to ${describe(entries)}`);
}

function fits(entry: Access, caller: Caller): boolean {
  switch (entry.caller) {
    case AccessCaller.USER:
    case AccessCaller.SELF:
      return caller.kind === "user";
    case AccessCaller.ADMIN:
      return caller.kind === "user" && caller.isAdmin;
    case AccessCaller.SERVICE:
      return caller.kind === "service" && caller.scopes.has(entry.scope);
    case AccessCaller.NODE:
      return caller.kind === "node";
    default:
      return false;
  }
}

function isAbout(caller: Caller, request: unknown): boolean {
  if (caller.kind !== "user" || typeof request !== "object" || request === null || !("userId" in request)) return false;
  return typeof request.userId === "string" && request.userId.toLowerCase() === caller.userId.toLowerCase();
}

function describe(entries: readonly Access[]): string {
  return entries.map((entry) => DESCRIPTIONS[entry.caller]?.(entry.scope) ?? "").join(" or ");
}

const DESCRIPTIONS: Readonly<Record<number, (scope: string) => string>> = {
  [AccessCaller.USER]: () => "signed-in users",
  [AccessCaller.SELF]: () => "the user it is about",
  [AccessCaller.ADMIN]: () => "admins",
  [AccessCaller.SERVICE]: (scope) => `services with the scope ${scope}`,
  [AccessCaller.NODE]: () => "storage nodes on the node edge",
};
