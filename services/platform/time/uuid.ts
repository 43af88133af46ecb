import { randomUUID } from "node:crypto";
import type { Clock } from "./clock.ts";

/** A version 7 UUID (RFC 9562): milliseconds of the clock first, so that new rows land at the right end of an index. */
export function uuidv7(clock: Clock): string {
  const time = clock.now().epochMilliseconds.toString(16).padStart(12, "0");
  // The random bits of a version 4 UUID, variant included: its generator keeps a pool, which asking for 16 bytes does not.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}
