import type { ServiceImpl } from "@connectrpc/connect";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { implementPartly } from "./implement-partly.ts";
import { TestProtocol } from "./test-protocol.ts";
import { startTestService, type TestService } from "./test-service.ts";

export interface BothStacks extends AsyncDisposable {
  readonly running: TestService;
  /** The same handlers by Connect and gRPC on the main port, and by gRPC over mutual TLS on the node edge. */
  readonly clients: Readonly<Record<"connect" | "grpc" | "edge", Client<typeof TestProtocol>>>;
}

export const STACKS = ["connect", "grpc", "edge"] as const;

/** Serves handlers of the test protocol on both stacks. */
export async function startBothStacks(
  impl: Partial<ServiceImpl<typeof TestProtocol>>,
  options: Omit<Parameters<typeof startTestService>[0], "services" | "edgeServices"> = {},
): Promise<BothStacks> {
  const service = implementPartly(TestProtocol, impl);
  const running = await startTestService({ ...options, services: [service], edgeServices: [service] });
  const node = await running.ca.node();
  const edge = createGrpcTransport({
    baseUrl: `https://localhost:${running.edgeAddress.split(":")[1]}`,
    nodeOptions: { ca: running.ca.certificate, cert: node.certificate, key: node.privateKey },
  });
  return {
    running,
    clients: {
      connect: createClient(TestProtocol, createConnectTransport({ baseUrl: running.url, httpVersion: "2" })),
      grpc: createClient(TestProtocol, createGrpcTransport({ baseUrl: running.url })),
      edge: createClient(TestProtocol, edge),
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
