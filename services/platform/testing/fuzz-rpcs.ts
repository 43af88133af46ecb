import { type DescMethod, type DescMethodUnary, type DescService, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { codeFromString } from "@connectrpc/connect/protocol-connect";
import { randomMessage, seededRandom } from "./random-message.ts";

/** Sends the bytes of one request and gives the code that came back, 0 for OK. */
export type Send = (method: DescMethodUnary, bytes: Uint8Array) => Promise<Code | 0>;

export interface FuzzOptions {
  readonly services: readonly DescService[];
  readonly send: Send;
  readonly seed: number;
  readonly messagesPerMethod: number;
}

export interface FuzzReport {
  readonly sent: number;
  /** How often each code came back. */
  readonly codes: ReadonlyMap<string, number>;
  /** Requests that were answered as if they were our fault. */
  readonly faults: readonly { method: string; code: string; request: string }[];
}

const FAULTS: ReadonlySet<Code | 0> = new Set([Code.Internal, Code.Unknown, Code.DataLoss]);

/**
 * Sends random valid messages to every unary RPC of some services. None of them may be answered with INTERNAL or
 * UNKNOWN: these are reported with the request in hex, and come again with the same seed.
 */
export async function fuzzRpcs({ services, send, seed, messagesPerMethod }: FuzzOptions): Promise<FuzzReport> {
  const random = seededRandom(seed);
  const codes = new Map<string, number>();
  const faults: { method: string; code: string; request: string }[] = [];
  let sent = 0;
  for (const method of services.flatMap((service) => service.methods).filter(isUnary)) {
    for (let i = 0; i < messagesPerMethod; i++) {
      const bytes = toBinary(method.input, randomMessage(method.input, random));
      const code = await send(method, bytes);
      const name = code === 0 ? "OK" : (Code[code] ?? String(code));
      sent++;
      codes.set(name, (codes.get(name) ?? 0) + 1);
      if (FAULTS.has(code))
        faults.push({ method: method.name, code: name, request: Buffer.from(bytes).toString("hex") });
    }
  }
  return { sent, codes, faults };
}

/** By the Connect protocol to a service's main port. */
export function sendByConnect(url: string, authorization: string): Send {
  return async (method, bytes) => {
    const response = await fetch(`${url}/${method.parent.typeName}/${method.name}`, {
      method: "POST",
      headers: { "content-type": "application/proto", authorization },
      body: new Uint8Array(bytes),
    });
    const body = await response.text();
    if (response.status === 200) return 0;
    return codeFromString(/"code":"(\w+)"/.exec(body)?.[1] ?? "unknown") ?? Code.Unknown;
  };
}

/** By gRPC over mutual TLS to the node edge. */
export function sendByGrpc(client: { raw(path: string, bytes: Uint8Array): Promise<Uint8Array> }): Send {
  return async (method, bytes) => {
    try {
      await client.raw(`/${method.parent.typeName}/${method.name}`, bytes);
      return 0;
    } catch (error) {
      return error instanceof Error && "code" in error && typeof error.code === "number" ? error.code : Code.Unknown;
    }
  };
}

function isUnary(method: DescMethod): method is DescMethodUnary {
  return method.methodKind === "unary";
}
