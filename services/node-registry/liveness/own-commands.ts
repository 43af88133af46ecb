import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type NodeCommand, NodeCommandSchema } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { CertificateInUse } from "#platform/rpc/caller.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeRecord } from "../directory/node-record.ts";

export interface OwnCommandsDeps {
  readonly clock: Clock;
  readonly certificateTtlMs: number;
  /** The authority that issues now; certificates of another one are to be renewed. */
  issuingAuthorityId(): bigint;
}

/**
 * What liveness itself asks of a node: to renew its certificate (in the last third of its life, or while the CA is being
 * replaced) and to know that it is draining.
 */
export function ownCommands(
  deps: OwnCommandsDeps,
  node: NodeRecord,
  certificate: CertificateInUse | undefined,
): readonly NodeCommand[] {
  const isDraining = node.state === "draining";
  const isDue = isRenewalDue(deps, node, certificate);
  if (!isDraining && !isDue) return none;
  return [...(isDue ? [renewCommand(node)] : []), ...(isDraining ? [drainCommand(node)] : [])];
}

const none: readonly NodeCommand[] = [];

function isRenewalDue(
  { clock, certificateTtlMs, issuingAuthorityId }: OwnCommandsDeps,
  node: NodeRecord,
  certificate: CertificateInUse | undefined,
): boolean {
  if (node.certificateExpiresAt === null) return false;
  if (node.certificateAuthorityId !== issuingAuthorityId()) return true;
  const expiresAtMs = node.certificateExpiresAt.epochMilliseconds;
  if (expiresAtMs - clock.now().epochMilliseconds < certificateTtlMs / 3) return true;
  // It came back with an older one than it was given: the answer with the newer was lost, or the node before it kept it.
  // Asked once per connection, because the next renewal is younger than the connection. Certificates count in seconds.
  const issuedAtMs = expiresAtMs - certificateTtlMs;
  return (
    certificate !== undefined &&
    certificate.connectedAtMs > issuedAtMs &&
    certificate.expiresAtMs <= expiresAtMs - 1_000
  );
}

function renewCommand(node: NodeRecord): NodeCommand {
  const expiresAt = node.certificateExpiresAt;
  return create(NodeCommandSchema, {
    commandId: stableId("renew_certificate", node.nodeId, expiresAt?.toString() ?? ""),
    ...(expiresAt === null ? {} : { deadline: toTimestamp(expiresAt) }),
    command: { case: "renewCertificate", value: {} },
  });
}

function drainCommand(node: NodeRecord): NodeCommand {
  return create(NodeCommandSchema, {
    commandId: stableId("drain", node.nodeId, ""),
    command: { case: "drain", value: {} },
  });
}

/** The same UUID (version 8) in every repetition and on every replica, without storing it. */
function stableId(...parts: readonly string[]): string {
  const hash = createHash("sha256").update(parts.join("\n")).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}
