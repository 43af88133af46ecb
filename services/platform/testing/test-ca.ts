import "reflect-metadata";
import { createHash, webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;

export interface TestCertificate {
  readonly certificate: string;
  readonly privateKey: string;
  /** SHA-256 of the public key, as the node edge names a node. */
  readonly nodeId: string;
}

/** A certificate authority for tests of the node edge. */
export interface TestCa {
  readonly certificate: string;
  server(): Promise<TestCertificate>;
  /** `validForMs` may be negative: a certificate that has expired. */
  node(options?: { validForMs?: number }): Promise<TestCertificate>;
}

export async function createTestCa(name = "test CA"): Promise<TestCa> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const root = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: ALGORITHM,
    notBefore: new Date(Date.now() - 10 * DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  });
  const issue = (usage: string, validForMs: number) => issueCertificate(root, keys.privateKey, usage, validForMs);
  return {
    certificate: root.toString("pem"),
    server: () => issue(ExtendedKeyUsage.serverAuth, DAY_MS),
    node: ({ validForMs = DAY_MS } = {}) => issue(ExtendedKeyUsage.clientAuth, validForMs),
  };
}

async function issueCertificate(
  root: X509Certificate,
  signingKey: webcrypto.CryptoKey,
  usage: string,
  validForMs: number,
): Promise<TestCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject: "CN=test",
    issuer: root.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    notBefore: new Date(Date.now() - 5 * DAY_MS),
    notAfter: new Date(Date.now() + validForMs),
    extensions: [
      new BasicConstraintsExtension(false),
      new ExtendedKeyUsageExtension([usage], false),
      new SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        { type: "ip", value: "127.0.0.1" },
      ]),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    certificate: certificate.toString("pem"),
    privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/(.{64})/g, "$1\n")}\n-----END PRIVATE KEY-----\n`,
    nodeId: createHash("sha256").update(Buffer.from(certificate.publicKey.rawData)).digest("hex"),
  };
}
