import "reflect-metadata"; // @peculiar/x509 needs it, and it must come first
import { createHash, createPublicKey, generateKeyPairSync, webcrypto, X509Certificate } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";

/** A node's key pair. The node id follows from the public key, so it can be neither chosen nor borrowed. */
export interface Identity {
  readonly nodeId: string;
  readonly privateKeyPem: string;
  certificateRequest(): Promise<string>;
}

export async function openIdentity(folder: string): Promise<Identity> {
  const privateKeyPem = (await readIfThere(join(folder, "key.pem"))) ?? (await createKey(folder));
  const publicKey = createPublicKey(privateKeyPem);
  return {
    nodeId: sha256Hex(publicKey.export({ type: "spki", format: "der" })),
    privateKeyPem,
    certificateRequest: () => createRequest(privateKeyPem, publicKey.export({ type: "spki", format: "der" })),
  };
}

async function createKey(folder: string): Promise<string> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await writeWhole(join(folder, "key.pem"), pem);
  return pem;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

async function createRequest(privateKeyPem: string, spki: Buffer): Promise<string> {
  const pkcs8 = Buffer.from(privateKeyPem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys: {
      privateKey: await webcrypto.subtle.importKey("pkcs8", pkcs8, algorithm, true, ["sign"]),
      publicKey: await webcrypto.subtle.importKey("spki", new Uint8Array(spki), algorithm, true, ["verify"]),
    },
    signingAlgorithm: algorithm,
  });
  return request.toString("pem");
}

/**
 * Whether the CA that the join token names is among those that enrollment returned (two, while one replaces the
 * other): the token's last part is the beginning of
 * the SHA-256 of the CA's public key. Without this check anybody between node and registry could pose as the network.
 */
export function isCaOfJoinToken(caCertificatePem: string, joinToken: string): boolean {
  const fingerprint = joinToken.split(".").at(-1) ?? "";
  const certificates = caCertificatePem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return certificates.some((pem) => {
    const spki = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
    return fingerprint.length === 32 && sha256Hex(spki).startsWith(fingerprint);
  });
}

export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

export async function writeWhole(path: string, content: string): Promise<void> {
  await writeFile(`${path}.tmp`, content, { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

function sha256Hex(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}
