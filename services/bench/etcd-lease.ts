import { once } from "node:events";
import type { ClientHttp2Session } from "node:http2";
import { frameOf, type LoadTarget, openSessions, pause } from "./grpc-load.ts";

const ATTEMPTS = 50;

/** Grants a lease of ten minutes at an etcd that may still be starting. */
export async function grantEtcdLease(target: LoadTarget): Promise<bigint> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const [session] = await Promise.race([openSessions([target]), failAfter(2_000)]);
      if (session === undefined) throw new Error("no session");
      const leaseId = await grant(session);
      session.destroy();
      return leaseId;
    } catch (error) {
      if (attempt >= ATTEMPTS) throw new Error("etcd does not grant a lease", { cause: error });
      await pause(200);
    }
  }
}

async function grant(session: ClientHttp2Session): Promise<bigint> {
  const stream = session.request({
    ":method": "POST",
    ":path": "/etcdserverpb.Lease/LeaseGrant",
    "content-type": "application/grpc",
    te: "trailers",
  });
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  // LeaseGrantRequest{TTL = 600}
  stream.end(frameOf(new Uint8Array([8, 0xd8, 4])));
  await once(stream, "end");
  const answer = Buffer.concat(chunks).subarray(5);
  return fieldOf(answer, 2);
}

/** LeaseKeepAliveRequest{ID} */
export function keepAliveMessage(leaseId: bigint): Uint8Array {
  const bytes = [8];
  let value = leaseId;
  for (; value >= 128n; value /= 128n) bytes.push(Number(value % 128n) + 128);
  bytes.push(Number(value));
  return new Uint8Array(bytes);
}

/** A varint field of a message whose other fields are varints or length-delimited. */
function fieldOf(message: Uint8Array, wanted: number): bigint {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at] ?? 0;
      at += 1;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const value = varint();
    if (tag >> 3 === wanted) return value;
    if ((tag & 7) === 2) at += Number(value);
  }
  throw new Error(`field ${wanted} is missing`);
}

async function failAfter(ms: number): Promise<never> {
  await pause(ms);
  throw new Error("no connection");
}
