// Must come before @peculiar/x509, which needs its decorators; no other file imports that package.
import "reflect-metadata";
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { encodeNodeCertificate } from "./node-certificate.ts";

const P256 = { name: "ECDSA", namedCurve: "P-256" };
const SIGNING = { name: "ECDSA", hash: "SHA-256" };
/** A node's clock may be behind ours by this much and still accept what we issue. */
const BACKDATED_MS = 5 * 60_000;

export interface Validity {
  readonly from: Temporal.Instant;
  readonly ttlMs: number;
}

/** A certificate authority with its key in memory. */
export interface SigningAuthority {
  readonly certificateDer: Uint8Array;
  readonly certificatePem: string;
  /** As its certificates name it. */
  readonly subject: string;
  readonly privateKey: webcrypto.CryptoKey;
  /** `subject` as it is encoded in the certificate. */
  readonly subjectDer: Uint8Array;
  /** The same key as `privateKey`. */
  readonly signingKey: KeyObject;
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  readonly expiresAt: Temporal.Instant;
}

/** A new self-signed P-256 authority, with its key also as PKCS #8 for safekeeping. */
export async function createAuthority(validity: Validity): Promise<SigningAuthority & { readonly pkcs8: Uint8Array }> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...datesOf(validity),
    // A name of its own: OpenSSL looks for issuers by name, and while a CA is replaced two are trusted.
    name: `CN=DecentraStore node CA ${randomBytes(4).toString("hex")}, O=DecentraStore`,
    keys,
    signingAlgorithm: SIGNING,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pkcs8 = new Uint8Array(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { ...signingOf(certificate, keys.privateKey, pkcs8), pkcs8 };
}

export async function loadAuthority(certificateDer: Uint8Array, pkcs8: Uint8Array): Promise<SigningAuthority> {
  const privateKey = await webcrypto.subtle.importKey("pkcs8", Buffer.from(pkcs8), P256, false, ["sign"]);
  return signingOf(new X509Certificate(Buffer.from(certificateDer)), privateKey, pkcs8);
}

function signingOf(certificate: X509Certificate, privateKey: webcrypto.CryptoKey, pkcs8: Uint8Array): SigningAuthority {
  const subjectDer = new Uint8Array(certificate.subjectName.toArrayBuffer());
  const signingKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  return { ...encoded(certificate), privateKey, subjectDer, signingKey };
}

/** A server certificate with a key of its own; names are DNS names and IP addresses. */
export async function issueServerCertificate(
  authority: SigningAuthority,
  names: readonly string[],
  validity: Validity,
): Promise<IssuedCertificate & { readonly privateKeyPem: string }> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const issued = await issue(authority, validity, keys.publicKey, `CN=${names[0] ?? "localhost"}`, [
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    new SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }))),
  ]);
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { ...issued, privateKeyPem: toPem("PRIVATE KEY", pkcs8) };
}

/** A client certificate for a key whose possession was proven by its request (`readCertificateRequest`). */
export function issueNodeCertificate(
  authority: SigningAuthority,
  request: CertificateRequest,
  validity: Validity,
): IssuedCertificate {
  const publicKeyDer = request.publicKey.export({ type: "spki", format: "der" });
  const dates = datesOf(validity);
  const der = encodeNodeCertificate(authority, { nodeId: request.nodeId, publicKeyDer, ...dates });
  return { certificatePem: toPem("CERTIFICATE", der), expiresAt: instantOf(dates.notAfter) };
}

async function issue(
  authority: SigningAuthority,
  validity: Validity,
  publicKey: webcrypto.CryptoKey,
  subject: string,
  extensions: (ExtendedKeyUsageExtension | SubjectAlternativeNameExtension)[],
): Promise<IssuedCertificate> {
  const dates = datesOf(validity);
  const certificate = await X509CertificateGenerator.create({
    ...dates,
    subject,
    issuer: authority.subject,
    publicKey,
    signingKey: authority.privateKey,
    signingAlgorithm: SIGNING,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      ...extensions,
    ],
  });
  return {
    certificatePem: encoded(certificate).certificatePem,
    expiresAt: instantOf(dates.notAfter),
  };
}

export interface CertificateRequest {
  readonly nodeId: string;
  readonly publicKey: KeyObject;
}

/**
 * What a certificate signing request proves: that its sender holds the key. Its names and extensions are ignored.
 * The answer is a rule that the request breaks, where it breaks one.
 */
export async function readCertificateRequest(pem: string): Promise<CertificateRequest | { readonly rule: string }> {
  let request: Pkcs10CertificateRequest;
  let publicKey: KeyObject;
  let der: Buffer;
  try {
    request = new Pkcs10CertificateRequest(pem);
    der = Buffer.from(request.publicKey.rawData);
    publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
  } catch {
    // Whatever the parser says about garbage, the sender is told the rule.
    return { rule: "must be a PKCS #10 certificate signing request in PEM" };
  }
  const rule = keyRule(publicKey);
  if (rule !== undefined) return { rule };
  // A second encoding of the same key would be a second identity for it.
  if (!usualForm(publicKey).equals(der)) return { rule: "must carry the key in its usual DER form" };
  const isProven = await request.verify().catch(() => false);
  return isProven ? { nodeId: nodeIdOf(publicKey), publicKey } : { rule: "must be signed by the key that it carries" };
}

/** Made anew from its numbers: exported as it is, a point of a curve keeps the form that it came in. */
function usualForm(key: KeyObject): Buffer {
  const fresh = createPublicKey({ key: key.export({ format: "jwk" }), format: "jwk" });
  return fresh.export({ type: "spki", format: "der" });
}

function keyRule(key: KeyObject): string | undefined {
  const details = key.asymmetricKeyDetails;
  const isAllowed =
    key.asymmetricKeyType === "ed25519" ||
    (key.asymmetricKeyType === "ec" && details?.namedCurve === "prime256v1") ||
    (key.asymmetricKeyType === "rsa" &&
      (details?.modulusLength ?? 0) >= 3_072 &&
      (details?.modulusLength ?? 0) <= 8_192);
  return isAllowed ? undefined : "must carry an Ed25519, P-256 or RSA key (3072 to 8192 bits)";
}

/** Lowercase hex SHA-256 of the DER SubjectPublicKeyInfo. */
export function nodeIdOf(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** SHA-256 of an authority's SubjectPublicKeyInfo in hex; join tokens carry its first half. */
export function authorityFingerprint(certificateDer: Uint8Array): string {
  const certificate = new X509Certificate(Buffer.from(certificateDer));
  return createHash("sha256").update(Buffer.from(certificate.publicKey.rawData)).digest("hex");
}

function encoded(certificate: X509Certificate) {
  const certificateDer = new Uint8Array(certificate.rawData);
  return { certificateDer, certificatePem: toPem("CERTIFICATE", certificateDer), subject: certificate.subject };
}

function toPem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function instantOf(date: Date): Temporal.Instant {
  return Temporal.Instant.fromEpochMilliseconds(date.getTime());
}

function datesOf(validity: Validity) {
  const from = validity.from.epochMilliseconds;
  return { notBefore: new Date(from - BACKDATED_MS), notAfter: new Date(from + validity.ttlMs) };
}
