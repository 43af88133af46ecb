import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema, type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

const NANOS_PER_SECOND = 1_000_000_000n;

export function toTimestamp(instant: Temporal.Instant): Timestamp {
  const total = instant.epochNanoseconds;
  // Nanos count forward from the second, also before 1970.
  const nanos = ((total % NANOS_PER_SECOND) + NANOS_PER_SECOND) % NANOS_PER_SECOND;
  // A literal and not `create`: lists have thousands of them.
  return { $typeName: TimestampSchema.typeName, seconds: (total - nanos) / NANOS_PER_SECOND, nanos: Number(nanos) };
}

/** Throws a RangeError outside of what Temporal.Instant holds: validate first (`check.instant`). */
export function fromTimestamp(timestamp: Timestamp): Temporal.Instant {
  return Temporal.Instant.fromEpochNanoseconds(timestamp.seconds * NANOS_PER_SECOND + BigInt(timestamp.nanos));
}

/** From milliseconds, which may be fractional or negative; both parts of the result carry the sign, as the type demands. */
export function toDuration(ms: number): Duration {
  const nanos = Math.round(ms * 1e6);
  return create(DurationSchema, { seconds: BigInt(Math.trunc(nanos / 1e9)), nanos: (nanos % 1e9) + 0 });
}

/** In milliseconds, with fractions. */
export function fromDuration(duration: Duration): number {
  return Number(duration.seconds) * 1_000 + duration.nanos / 1e6;
}
