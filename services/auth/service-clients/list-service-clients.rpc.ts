import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import type { Deps } from "../deps.ts";
import { toProtoServiceClient } from "./proto-service-client.ts";
import { listServiceClients as listRows } from "./service-clients.store.ts";

const cursor = z.strictObject({ name: z.string().max(200), clientId: z.string().max(200) });

export function listServiceClients(deps: Deps): MethodImpl<typeof TokenService.method.listServiceClients> {
  return async (request) => {
    const page = pageOf(request, cursor);
    const clients = await listRows(deps.pool, page);
    return {
      serviceClients: clients.map(toProtoServiceClient),
      nextPageToken: nextPageToken(clients, page.limit, ({ name, clientId }) => ({ name, clientId })),
    };
  };
}
