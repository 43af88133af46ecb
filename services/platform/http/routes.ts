import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { PolicedService } from "#platform/rpc/policy.ts";
import type { NodeHandler } from "./connect-handler.ts";

/** A plain GET answer beside the RPCs, such as /livez or a key set. */
export interface HttpRoute {
  readonly path: string;
  readonly answer: () => HttpAnswer | Promise<HttpAnswer>;
}

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What `Connect GET` needs where a caller sends no query: the empty request, answered in JSON. */
const EMPTY_QUERY = "?connect=v1&encoding=json&message=%7B%7D";

/** Dispatches by path: routes, then RPCs; a bare GET on a side-effect free RPC stands for its empty request. */
export function createDispatcher(
  routes: readonly HttpRoute[],
  services: readonly PolicedService[],
  rpc: NodeHandler,
): NodeHandler {
  const byPath = new Map(routes.map((route) => [route.path, route]));
  const barePaths = new Set(services.flatMap(({ service }) => service.methods.filter(isSideEffectFree).map(pathOf)));
  return (request, response) => {
    const url = request.url ?? "";
    const route = byPath.get(url.split("?", 1)[0] ?? "");
    if (route !== undefined) {
      if (request.method === "GET" || request.method === "HEAD") void answer(route, response);
      else
        send(response, { status: 405, contentType: "text/plain", body: "only GET\n", headers: { allow: "GET, HEAD" } });
      return;
    }
    if (request.method === "GET" && barePaths.has(url)) request.url = url + EMPTY_QUERY;
    rpc(request, response);
  };
}

/** For paths that are neither a route nor an RPC; Connect and gRPC clients read a 404 as UNIMPLEMENTED. */
export const notFound: NodeHandler = (_request, response) => {
  const body = JSON.stringify({ code: "unimplemented", message: "no RPC and no page of this service has this path" });
  send(response, { status: 404, contentType: "application/json", body });
};

/** For RPCs whose path and Host make no URL, which connect-node builds before it looks at anything. */
export const malformed: NodeHandler = (_request, response) => {
  send(response, { status: 400, contentType: "text/plain", body: "malformed request\n" });
};

async function answer(route: HttpRoute, response: Parameters<NodeHandler>[1]): Promise<void> {
  let result: HttpAnswer;
  try {
    result = await route.answer();
  } catch {
    // Routes log their own troubles; a client gets no details of them.
    result = { status: 503, contentType: "text/plain", body: "not available\n" };
  }
  send(response, result);
}

function send(response: Parameters<NodeHandler>[1], answer: HttpAnswer): void {
  response.writeHead(answer.status, {
    "content-type": answer.contentType,
    "content-length": Buffer.byteLength(answer.body),
    ...answer.headers,
  });
  // Node leaves the body out of an answer to HEAD by itself.
  response.end(answer.body);
}

function isSideEffectFree(method: DescMethod): boolean {
  return method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
