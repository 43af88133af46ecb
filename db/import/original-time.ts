const textual =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$/i;

const first = Temporal.Instant.from("0001-01-01T00:00:00Z");
const last = Temporal.Instant.from("9999-12-31T23:59:59Z");

/**
 * An instant as programs leave it in SQLite, which has no type for it: text with or without zone (without means UTC, as
 * CURRENT_TIMESTAMP writes it), seconds to microseconds since 1970, or a Julian day. Undefined for anything else.
 */
export function instantOf(value: string | bigint | number): Temporal.Instant | undefined {
  const found = typeof value === "string" ? instantOfText(value.trim()) : instantOfNumber(Number(value));
  if (found === undefined) return undefined;
  const isInRange = Temporal.Instant.compare(first, found) <= 0 && Temporal.Instant.compare(found, last) <= 0;
  return isInRange ? found : undefined;
}

function instantOfText(text: string): Temporal.Instant | undefined {
  if (/^-?\d+(\.\d+)?$/.test(text)) return instantOfNumber(Number(text));
  const [, date, time = "00:00", seconds = "00", fraction = "0", zone = "Z"] = textual.exec(text) ?? [];
  if (date === undefined) return undefined;
  try {
    const offset = /^[a-z]/i.test(zone) ? "Z" : zone;
    return Temporal.Instant.from(`${date}T${time}:${seconds}.${fraction}${offset}`);
  } catch {
    return undefined; // the form of a date, but no day that there is, such as the 31st of February
  }
}

/** Numbers of days, seconds, milliseconds and microseconds of our times do not overlap. */
function instantOfNumber(value: number): Temporal.Instant | undefined {
  if (!Number.isFinite(value)) return undefined;
  const size = Math.abs(value);
  // Days from the year 1 to 9999; as seconds they would all be in the spring of 1970.
  if (value > 1_721_000 && value < 5_374_000)
    return Temporal.Instant.fromEpochMilliseconds(Math.round((value - 2_440_587.5) * 86_400_000));
  const scale = size < 1e11 ? 1_000 : size < 1e14 ? 1 : size < 1e17 ? 1e-3 : undefined;
  return scale === undefined ? undefined : Temporal.Instant.fromEpochMilliseconds(Math.round(value * scale));
}
