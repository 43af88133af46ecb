import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  type NodeService,
  RenewCertificateResponseSchema,
} from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { invalidArgument, overloaded } from "#platform/rpc/errors.ts";
import { validate } from "#platform/rpc/validate.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { createChangeGuard } from "../directory/change-guard.ts";
import { issueNodeCertificate } from "./certificates.ts";
import { checkedCertificateRequest } from "./checked-certificate-request.ts";
import { createDirectoryCommits } from "./directory-commits.worker.ts";
import { type RenewedCertificate, updateCertificates } from "./enrolled-nodes.store.ts";
import type { EnrollmentDeps } from "./enrollment-deps.ts";

/** Many more than a node needs that loses its answers. */
const RENEWALS_AT_ONCE = 20;

/** The key stays: it is the node's identity. The certificate in use goes on until it expires. */
export function renewCertificate(deps: EnrollmentDeps): MethodImpl<typeof NodeService.method.renewCertificate> {
  // A change of the directory, so that every replica stops asking for the renewal.
  const renew = createDirectoryCommits(deps, async (tx, renewed: readonly RenewedCertificate[]) => {
    const latest = new Map(renewed.map((one) => [one.rowId, one]));
    await updateCertificates(
      tx,
      [...latest.values()].sort((a, b) => (a.rowId < b.rowId ? -1 : 1)),
    );
    return renewed;
  });
  const admits = createChangeGuard(RENEWALS_AT_ONCE);
  return async (request, context) => {
    const node = await callingNode(deps, context);
    validate((check) => {
      check.present("csr_pem", request.csrPem);
      check.text("csr_pem", request.csrPem, { maxBytes: 16_384 });
    });
    const csr = await checkedCertificateRequest(request.csrPem);
    if (csr.nodeId !== node.nodeId) {
      throw invalidArgument([{ field: "csr_pem", rule: "must be for the key of the certificate in use" }]);
    }
    if (!admits(node, deps.clock.monotonicMs()))
      throw overloaded("a certificate is renewed once in 10 seconds", 10_000);
    const authority = deps.authorities.issuing();
    const issued = issueNodeCertificate(authority, csr, {
      from: deps.clock.now(),
      ttlMs: deps.config.NODE_CERTIFICATE_TTL,
    });
    await renew({ rowId: node.rowId, expiresAt: issued.expiresAt, authorityId: authority.id });
    return create(RenewCertificateResponseSchema, {
      certificatePem: issued.certificatePem,
      caCertificatePem: deps.authorities.bundlePem(),
    });
  };
}
