import { type KeyObject, randomBytes, sign } from "node:crypto";

// DER by hand, for this one certificate only: through the ASN.1 library it took 2.3 ms of the thread that also answers
// heartbeats, this takes a tenth, and while the CA is replaced every node of the network renews at once.

const TAG = { integer: 0x02, bitString: 0x03, octetString: 0x04, oid: 0x06, utf8: 0x0c, utcTime: 0x17 };
const [GENERALIZED_TIME, SEQUENCE, SET] = [0x18, 0x30, 0x31];
const CRITICAL = Buffer.from([0x01, 0x01, 0xff]);

/** The authority's name as its own certificate encodes it, and its key. */
export interface NodeCertificateIssuer {
  readonly subjectDer: Uint8Array;
  readonly signingKey: KeyObject;
}

/** Dates to the second; the public key as DER SubjectPublicKeyInfo. */
export interface NodeCertificate {
  readonly nodeId: string;
  readonly publicKeyDer: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A client certificate in DER: CN = node_id, digitalSignature, clientAuth, signed with ECDSA and SHA-256. */
export function encodeNodeCertificate(authority: NodeCertificateIssuer, wanted: NodeCertificate): Buffer {
  const body = sequence(
    tagged(0xa0, tagged(TAG.integer, Buffer.from([2]))),
    tagged(TAG.integer, serialNumber()),
    ecdsaWithSha256,
    authority.subjectDer,
    sequence(time(wanted.notBefore), time(wanted.notAfter)),
    sequence(tagged(SET, sequence(commonName, tagged(TAG.utf8, Buffer.from(wanted.nodeId))))),
    wanted.publicKeyDer,
    extensions,
  );
  const signature = sign("sha256", body, authority.signingKey);
  return sequence(body, ecdsaWithSha256, tagged(TAG.bitString, Buffer.from([0]), signature));
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return tagged(SEQUENCE, ...parts);
}

function oid(hex: string): Buffer {
  return tagged(TAG.oid, Buffer.from(hex, "hex"));
}

/** Positive and without a leading zero byte, as DER wants integers. */
function serialNumber(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

/** RFC 5280: with two digits for the year until 2049. */
function time(date: Date): Buffer {
  const digits = `${date.toISOString().replace(/\.\d+|[-:T]/g, "")}`;
  return date.getUTCFullYear() < 2050
    ? tagged(TAG.utcTime, Buffer.from(digits.slice(2)))
    : tagged(GENERALIZED_TIME, Buffer.from(digits));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(isCritical ? [CRITICAL] : []), tagged(TAG.octetString, value));
}

const ecdsaWithSha256 = sequence(oid("2a8648ce3d040302"));
const commonName = oid("550403");
const extensions = tagged(
  0xa3,
  sequence(
    // basicConstraints: no CA; keyUsage: digitalSignature; extKeyUsage: clientAuth.
    extension("551d13", true, sequence()),
    extension("551d0f", true, tagged(TAG.bitString, Buffer.from([0x07, 0x80]))),
    extension("551d25", false, sequence(oid("2b06010505070302"))),
  ),
);
