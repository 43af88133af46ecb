import { createHmac, timingSafeEqual } from "node:crypto";

export interface RefreshTokenContent {
  readonly sessionId: string;
  readonly generation: number;
}

/** Makes and reads refresh tokens. */
export interface RefreshTokens {
  issue(content: RefreshTokenContent): string;
  /** Undefined for whatever this service did not issue, without a look at the database. */
  read(token: string): RefreshTokenContent | undefined;
}

const PREFIX = "dsr1_";
const BODY_BYTES = 16 + 4;
const MAC_BYTES = 32;
const LENGTH = PREFIX.length + Math.ceil(((BODY_BYTES + MAC_BYTES) * 4) / 3);

/**
 * A refresh token is a session's id and a generation under HMAC-SHA-256. Nothing about it has to be stored: the row
 * knows which generation is the newest, and repeating an answer means computing it again. Who reads the database can
 * make no token, because the key is sealed there.
 */
export function createRefreshTokens(key: Uint8Array): RefreshTokens {
  const macOf = (body: Uint8Array) => createHmac("sha256", key).update(body).digest();
  return {
    issue: ({ sessionId, generation }) => {
      const body = Buffer.alloc(BODY_BYTES);
      body.write(sessionId.replaceAll("-", ""), "hex");
      body.writeUInt32BE(generation, 16);
      return PREFIX + Buffer.concat([body, macOf(body)]).toString("base64url");
    },
    read: (token) => {
      if (token.length !== LENGTH || !token.startsWith(PREFIX)) return undefined;
      const text = token.slice(PREFIX.length);
      const bytes = Buffer.from(text, "base64url");
      // One spelling only: the decoder ignores foreign characters and unused bits.
      if (bytes.length !== BODY_BYTES + MAC_BYTES || bytes.toString("base64url") !== text) return undefined;
      const body = bytes.subarray(0, BODY_BYTES);
      if (!timingSafeEqual(macOf(body), bytes.subarray(BODY_BYTES))) return undefined;
      return { sessionId: uuidOf(body.toString("hex", 0, 16)), generation: body.readUInt32BE(16) };
    },
  };
}

function uuidOf(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
