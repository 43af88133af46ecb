import "reflect-metadata";
import { createHash, webcrypto } from "node:crypto";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A node's key with a request for its certificate. */
export interface TestIdentity {
  readonly nodeId: string;
  readonly privateKey: string;
  readonly csrPem: string;
}

export async function createTestIdentity(): Promise<TestIdentity> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: "CN=ignored",
    keys,
    signingAlgorithm: ALGORITHM,
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    nodeId: createHash("sha256").update(Buffer.from(request.publicKey.rawData)).digest("hex"),
    privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/(.{64})/g, "$1\n")}\n-----END PRIVATE KEY-----\n`,
    csrPem: request.toString("pem"),
  };
}
