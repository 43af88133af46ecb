import { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.ts";

export interface Refusal {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly fields: readonly string[];
  readonly retryAfterMs: number | undefined;
}

/** How a call was refused; throws where it was not. */
export async function refusalOf(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    const refused = ConnectError.from(error);
    const delay = refused.findDetails(RetryInfoSchema)[0]?.retryDelay;
    return {
      code: refused.code,
      reason: refused.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
      message: refused.rawMessage,
      fields: refused.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations.map((field) => field.field)),
      retryAfterMs: delay === undefined ? undefined : Number(delay.seconds) * 1_000 + delay.nanos / 1e6,
    };
  }
  throw new Error("the call was not refused");
}

export async function reasonOf(call: Promise<unknown>): Promise<string> {
  return (await refusalOf(call)).reason;
}
