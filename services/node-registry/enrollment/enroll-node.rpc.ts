import { create } from "@bufbuild/protobuf";
import { Code, type HandlerContext, type MethodImpl } from "@connectrpc/connect";
import {
  type EnrollmentService,
  type EnrollNodeRequest,
  EnrollNodeResponseSchema,
} from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { peerAddressOf } from "#platform/rpc/caller.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import { checkAddress, checkLabel } from "../directory/address.ts";
import { toProtoNode } from "../directory/node-record.ts";
import { registryError } from "../errors.ts";
import { type CertificateRequest, issueNodeCertificate } from "./certificates.ts";
import { checkedCertificateRequest } from "./checked-certificate-request.ts";
import { createDirectoryCommits } from "./directory-commits.worker.ts";
import { enrollTogether, type WantedEnrollment } from "./enroll.worker.ts";
import type { Enrollment } from "./enrolled-nodes.store.ts";
import type { EnrollmentDeps } from "./enrollment-deps.ts";
import { parseJoinToken } from "./join-token.ts";
import { createTokenLooks } from "./token-looks.worker.ts";

const MAX_CAPACITY_GB = 1_048_576;

export function enrollNode(deps: EnrollmentDeps): MethodImpl<typeof EnrollmentService.method.enrollNode> {
  const isUsable = createTokenLooks(deps);
  const enroll = createDirectoryCommits(deps, (tx, wanted: readonly WantedEnrollment[]) =>
    enrollTogether(deps, tx, wanted),
  );
  return async (request, context) => {
    assertSafeTransport(context);
    checkFields(deps, request);
    const token = parseJoinToken(request.joinToken);
    // Looked at before the certificate request, so that strangers cannot make us verify signatures.
    if (token === undefined || !(await isUsable(token))) throw tokenInvalid();
    const csr = await checkedCertificateRequest(request.csrPem);
    const authority = deps.authorities.issuing();
    const certificate = issueNodeCertificate(authority, csr, {
      from: deps.clock.now(),
      ttlMs: deps.config.NODE_CERTIFICATE_TTL,
    });
    const enrollment = enrollmentOf(deps, request, csr, certificate.expiresAt, authority.id);
    const { refusal, record } = await enroll({ token, enrollment });
    if (refusal !== undefined) throw refusal === "token" ? tokenInvalid() : disqualified();
    if (record === undefined) throw new Error("the node that was enrolled cannot be read");
    return create(EnrollNodeResponseSchema, {
      node: toProtoNode(record),
      certificatePem: certificate.certificatePem,
      caCertificatePem: deps.authorities.bundlePem(),
      heartbeatInterval: toDuration(deps.config.NODE_HEARTBEAT_INTERVAL),
      leaseTtl: toDuration(deps.config.NODE_LEASE_TTL),
    });
  };
}

function checkFields(deps: EnrollmentDeps, request: EnrollNodeRequest): void {
  validate((check) => {
    check.present("csr_pem", request.csrPem);
    check.text("csr_pem", request.csrPem, { maxBytes: 16_384 });
    checkAddress(check, "address", request.address, deps.config.NODE_ALLOW_PRIVATE_ADDRESSES);
    check.int("capacity_gb", request.capacityGb, { min: 1, max: MAX_CAPACITY_GB });
    checkLabel(check, "software_version", request.softwareVersion, { min: 1, max: 64 });
    if (request.region !== undefined) checkLabel(check, "region", request.region, { max: 64 });
  });
}

function enrollmentOf(
  deps: EnrollmentDeps,
  request: EnrollNodeRequest,
  csr: CertificateRequest,
  certificateExpiresAt: Temporal.Instant,
  certificateAuthorityId: bigint,
): Enrollment {
  return {
    nodeId: csr.nodeId,
    address: { host: request.address?.host ?? "", port: request.address?.port ?? 0 },
    region: request.region ?? "",
    softwareVersion: request.softwareVersion,
    capacityGb: request.capacityGb,
    certificateExpiresAt,
    certificateAuthorityId,
    probationUntil: deps.clock.now().add({ milliseconds: deps.config.NODE_PROBATION_PERIOD }),
  };
}

/** A join token is a secret: in plain text it may travel inside this machine only. */
function assertSafeTransport(context: HandlerContext): void {
  const peer = peerAddressOf(context);
  if (peer.isEncrypted || /^(::ffff:)?127\.|^::1$/.test(peer.host)) return;
  throw registryError(Code.FailedPrecondition, "TLS_REQUIRED", "enrollment from another machine needs TLS");
}

function tokenInvalid(): Error {
  return registryError(Code.PermissionDenied, "JOIN_TOKEN_INVALID", "the join token cannot be used");
}

function disqualified(): Error {
  return registryError(
    Code.PermissionDenied,
    "NODE_DISQUALIFIED",
    "the node of this key is disqualified; only an admin can bring it back",
  );
}
