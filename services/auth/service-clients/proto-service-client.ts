import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceClientSchema } from "#gen/decentrastore/auth/v1/service_client_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { ServiceClientRow } from "./service-clients.store.ts";

export function toProtoServiceClient(client: ServiceClientRow): MessageInitShape<typeof ServiceClientSchema> {
  return {
    clientId: client.clientId,
    name: client.name,
    scopes: [...client.scopes],
    createdAt: toTimestamp(client.createdAt),
    secretCreatedAt: toTimestamp(client.secretCreatedAt),
    ...(client.lastUsedAt === null ? {} : { lastUsedAt: toTimestamp(client.lastUsedAt) }),
    ...(client.revokedAt === null ? {} : { revokedAt: toTimestamp(client.revokedAt) }),
  };
}
