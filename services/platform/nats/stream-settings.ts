export const streamNames = ["USERS", "QUOTAS", "NODES", "CHUNKS", "NODE_HEARTBEATS", "DEAD_LETTERS"] as const;
export type StreamName = (typeof streamNames)[number];

/** What an operator may set about a stream; the defaults are in `streamDefinitions`. */
export interface StreamSettings {
  maxBytes?: number;
  /** Three in a cluster; one on a single server. */
  replicas?: number;
}

interface StreamVariables {
  readonly NATS_STREAM_MAX_BYTES?: ReadonlyMap<StreamName, number> | undefined;
  readonly NATS_STREAM_REPLICAS?: number | undefined;
}

/** The settings of one stream by the environment. */
export function streamSettingsOf(variables: StreamVariables): (stream: StreamName) => StreamSettings {
  const { NATS_STREAM_MAX_BYTES: sizes, NATS_STREAM_REPLICAS: replicas } = variables;
  return (stream) => {
    const maxBytes = sizes?.get(stream);
    return { ...(maxBytes === undefined ? {} : { maxBytes }), ...(replicas === undefined ? {} : { replicas }) };
  };
}

/** What has to change about a stream that is there: limits are raised and never lowered, which could cost events. */
export function raisedLimits(
  now: { readonly max_bytes: number; readonly num_replicas: number },
  { maxBytes, replicas }: StreamSettings,
): { raised: { max_bytes?: number; num_replicas?: number }; lower: StreamSettings } {
  // -1 is no limit.
  const bytesNow = now.max_bytes < 0 ? Number.POSITIVE_INFINITY : now.max_bytes;
  return {
    raised: {
      ...(maxBytes !== undefined && maxBytes > bytesNow ? { max_bytes: maxBytes } : {}),
      ...(replicas !== undefined && replicas > now.num_replicas ? { num_replicas: replicas } : {}),
    },
    lower: {
      ...(maxBytes !== undefined && maxBytes < bytesNow ? { maxBytes } : {}),
      ...(replicas !== undefined && replicas < now.num_replicas ? { replicas } : {}),
    },
  };
}
