/** setTimeout fires at once above this, so a longer deadline would be none at all; Connect answers INVALID_ARGUMENT. */
export const MAX_TIMEOUT_MS = 2 ** 31 - 1;

const GRPC_UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000 };

/**
 * Connect asks for the timer of a deadline before it refuses one that is too long, and Node tells standard error of each
 * such timer: lines without a limit for whoever likes to write them. What is no number Connect refuses at once.
 */
export function spoilLongTimeout(header: Headers): void {
  spoil(header, "connect-timeout-ms", (value) => (/^\d{1,10}$/.test(value) ? Number(value) : 0));
  spoil(header, "grpc-timeout", (value) => {
    const [, digits = "0", unit = ""] = /^(\d{1,8})([HMS])$/.exec(value) ?? [];
    return Number(digits) * (GRPC_UNIT_MS[unit] ?? 0);
  });
}

function spoil(header: Headers, name: string, msOf: (value: string) => number): void {
  const value = header.get(name);
  if (value !== null && msOf(value) > MAX_TIMEOUT_MS) header.set(name, `${value} is longer than ${MAX_TIMEOUT_MS} ms`);
}
