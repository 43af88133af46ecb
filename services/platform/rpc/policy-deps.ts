import type { CallContext } from "./call-context.ts";
import type { CallLog } from "./call-log.ts";
import type { RpcError } from "./errors.ts";

/** What the wrappers around handlers share. */
export interface PolicyDeps {
  readonly calls: CallLog;
  readonly toTransportError: (error: RpcError) => unknown;
  readonly unaryDeadlineMs: number;
  readonly maxUnaryDeadlineMs: number;
  readonly streamGraceMs: number;
  readonly stopping: AbortSignal;
  readonly openStreams: Set<CallContext>;
}
