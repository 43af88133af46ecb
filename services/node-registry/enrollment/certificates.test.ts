import { execFileSync } from "node:child_process";
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  authorityFingerprint,
  createAuthority,
  issueNodeCertificate,
  issueServerCertificate,
  loadAuthority,
  nodeIdOf,
  readCertificateRequest,
} from "./certificates.ts";

const folder = mkdtempSync(join(tmpdir(), "nodes-certificates-"));
afterAll(() => rmSync(folder, { recursive: true }));

const day = 86_400_000;
const from = Temporal.Now.instant();

/** A request as nodes in other languages make it: by OpenSSL. */
function opensslRequest(...keyOptions: string[]): { csr: string; key: string } {
  const key = join(folder, "key.pem");
  const csr = join(folder, "csr.pem");
  execFileSync("openssl", ["genpkey", ...keyOptions, "-out", key], { stdio: "ignore" });
  execFileSync("openssl", ["req", "-new", "-key", key, "-subj", "/CN=ignored", "-out", csr], { stdio: "ignore" });
  return { csr: readFileSync(csr, "utf8"), key: readFileSync(key, "utf8") };
}

const ed25519 = ["-algorithm", "ed25519"];
const p256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const rsa3072 = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];

test.each([
  ["Ed25519", ed25519],
  ["P-256", p256],
  ["RSA 3072", rsa3072],
])("a %s key gets a client certificate that OpenSSL verifies, named by its node id", async (_name, options) => {
  const authority = await createAuthority({ from, ttlMs: 3_650 * day });
  const { csr, key } = opensslRequest(...options);
  const request = await readCertificateRequest(csr);
  if ("rule" in request) throw new Error(request.rule);
  expect(request.nodeId).toBe(nodeIdOf(createPublicKey(key)));
  const issued = issueNodeCertificate(authority, request, { from, ttlMs: 30 * day });

  const certificate = new X509Certificate(issued.certificatePem);
  expect(certificate.subject).toBe(`CN=${request.nodeId}`);
  expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
  expect(issued.expiresAt.since(from).total("milliseconds")).toBeCloseTo(30 * day, -4);
  const [ca, leaf] = [join(folder, "ca.pem"), join(folder, "leaf.pem")];
  writeFileSync(ca, authority.certificatePem);
  writeFileSync(leaf, issued.certificatePem);
  expect(
    execFileSync("openssl", ["verify", "-purpose", "sslclient", "-CAfile", ca, leaf], { encoding: "utf8" }),
  ).toContain("OK");
});

test("a certificate that ends after 2049 says so, and its serial number is its own", async () => {
  const authority = await createAuthority({ from, ttlMs: 30 * 365 * day });
  const request = await readCertificateRequest(opensslRequest(...ed25519).csr);
  if ("rule" in request) throw new Error(request.rule);
  const late = Temporal.Instant.from("2049-12-31T12:00:00Z");
  const issued = [1, 2].map(() => issueNodeCertificate(authority, request, { from: late, ttlMs: day }));
  const [first, second] = issued.map(({ certificatePem }) => new X509Certificate(certificatePem));
  expect([first?.validFromDate.toISOString(), first?.validToDate.toISOString()]).toEqual([
    "2049-12-31T11:55:00.000Z",
    "2050-01-01T12:00:00.000Z",
  ]);
  expect(first?.serialNumber).not.toBe(second?.serialNumber);
  expect(first?.verify(new X509Certificate(authority.certificatePem).publicKey)).toBe(true);
});

test("weak keys, other curves, foreign keys and garbage are refused by a rule", async () => {
  const weak = opensslRequest("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048");
  const p384 = opensslRequest("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384");
  for (const { csr } of [weak, p384]) {
    expect(await readCertificateRequest(csr)).toEqual({ rule: expect.stringContaining("Ed25519, P-256 or RSA") });
  }
  for (const garbage of ["", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]) {
    expect(await readCertificateRequest(garbage)).toEqual({ rule: expect.stringContaining("PKCS #10") });
  }
  const forged = swapKey(opensslRequest(...ed25519).csr, opensslRequest(...ed25519).csr);
  expect(await readCertificateRequest(forged)).toEqual({ rule: expect.stringContaining("signed by the key") });
});

test("a key in another form than the usual one is refused, since it would be a second node", async () => {
  const key = join(folder, "compressed.pem");
  writeFileSync(key, opensslRequest(...p256).key);
  execFileSync("openssl", ["ec", "-in", key, "-conv_form", "compressed", "-out", key], { stdio: "ignore" });
  const csr = execFileSync("openssl", ["req", "-new", "-key", key, "-subj", "/CN=ignored"], { encoding: "utf8" });
  expect(await readCertificateRequest(csr)).toEqual({ rule: "must carry the key in its usual DER form" });
});

/** The first request with the second one's key: what somebody would send who does not hold that key. */
function swapKey(csr: string, other: string): string {
  const body = (pem: string) => Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
  const prefix = Buffer.from("302a300506032b6570032100", "hex");
  const [target, source] = [body(csr), body(other)];
  source.copy(target, target.indexOf(prefix), source.indexOf(prefix), source.indexOf(prefix) + 44);
  return `-----BEGIN CERTIFICATE REQUEST-----\n${target.toString("base64")}\n-----END CERTIFICATE REQUEST-----`;
}

test("a server certificate carries its names, and an authority works again after it was stored", async () => {
  const created = await createAuthority({ from, ttlMs: 3_650 * day });
  const authority = await loadAuthority(created.certificateDer, created.pkcs8);
  const issued = await issueServerCertificate(authority, ["localhost", "127.0.0.1", "::1", "edge.example"], {
    from,
    ttlMs: day,
  });
  const certificate = new X509Certificate(issued.certificatePem);
  const issuer = new X509Certificate(created.certificatePem);
  expect(certificate.verify(issuer.publicKey)).toBe(true);
  expect(certificate.checkHost("edge.example")).toBe("edge.example");
  expect(certificate.checkIP("::1")).toBe("::1");
  expect(certificate.checkPrivateKey(createPrivateKey(issued.privateKeyPem))).toBe(true);
  expect(authorityFingerprint(created.certificateDer)).toBe(nodeIdOf(issuer.publicKey));
});
