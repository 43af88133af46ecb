import { invalidArgument } from "#platform/rpc/errors.ts";
import { type CertificateRequest, readCertificateRequest } from "./certificates.ts";

/** Throws INVALID_FIELD for csr_pem with the rule that it breaks. */
export async function checkedCertificateRequest(csrPem: string): Promise<CertificateRequest> {
  const request = await readCertificateRequest(csrPem);
  if ("rule" in request) throw invalidArgument([{ field: "csr_pem", rule: request.rule }]);
  return request;
}
