import { isMessage } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { NodeService, SubmitStorageProofResponseSchema } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { openHttp2Sessions } from "#platform/identity/http2-sessions.ts";
import type { Credentials } from "../../dev/sample-node/enrollment.ts";
import type { Identity } from "../../dev/sample-node/identity.ts";
import type { History } from "../history.ts";
import { ask } from "./ask.ts";

export const NODE_TIMEOUT_MS = 4_000;
// A connection that has gone silent is found out and made anew, as any node has to.
const ping = { pingIntervalMs: 2_000, pingTimeoutMs: 1_500, pingIdleConnection: true };

export interface NodeConnection {
  /** For heartbeats, which have a record of their own. */
  readonly client: Client<typeof NodeService>;
  /** For all that the node does besides: every call is in the record, and while the node is silent none leaves it. */
  readonly recorded: Client<typeof NodeService>;
}

export function connectNode(
  edgeUrl: string,
  identity: Identity,
  { certificatePem, caCertificatePem }: Credentials,
  record: { readonly history: History; readonly isSilent: () => boolean },
): NodeConnection {
  const tls = { key: identity.privateKeyPem, cert: certificatePem, ca: caCertificatePem };
  const connection = { baseUrl: edgeUrl, sessionManager: openHttp2Sessions(edgeUrl, ping, tls) };
  const interceptors = [recorder(record.history, identity.nodeId, record.isSilent)];
  return {
    client: createClient(NodeService, createGrpcTransport(connection)),
    recorded: createClient(
      NodeService,
      createGrpcTransport({ ...connection, interceptors, defaultTimeoutMs: NODE_TIMEOUT_MS }),
    ),
  };
}

function recorder(history: History, nodeId: string, isSilent: () => boolean): Interceptor {
  return (next) => async (request) => {
    if (isSilent()) throw new ConnectError("the node is off", Code.Unavailable);
    const outcome = await ask(history, request.method.name, () => next(request));
    if (outcome.answer !== "acknowledged") throw new Error(`${outcome.refusal.reason} ${outcome.refusal.message}`);
    const { stream, message } = outcome.value;
    if (!stream && isMessage(message, SubmitStorageProofResponseSchema) && !message.isAccepted) {
      history.proofComplaints.push(`node ${nodeId}: an honest proof was not accepted`);
    }
    return outcome.value;
  };
}
