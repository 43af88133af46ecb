import { z } from "zod";
import { Secret } from "./secret.ts";

const required = () => z.string({ error: "is required" });

/** A type read from a string; `parse` returns undefined for a value that does not fit, and `rule` says what would. */
function parsed<T>(rule: string, parse: (value: string) => T | undefined, show = true) {
  return required().transform((value, ctx): T => {
    const result = parse(value.trim());
    if (result !== undefined) return result;
    ctx.addIssue({
      code: "custom",
      message: show ? `must be ${rule}, not "${value.slice(0, 80)}"` : `must be ${rule}`,
    });
    return z.NEVER;
  });
}

const unitMs = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/** A hundred years: an instant that lies further away is none, neither for us nor for PostgreSQL. */
const MAX_DURATION_MS = 36_500 * 86_400_000;

/** In whole milliseconds, which is all that an instant can be moved by: 16.1 * 1,000 is not quite 16,100. */
function durationMs(value: string): number | undefined {
  if (/^0+$/.test(value)) return 0;
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(value);
  const unit = unitMs.get(match?.[2] ?? "");
  return unit === undefined ? undefined : Math.round(Number(match?.[1]) * unit);
}

/** "250ms", "15s", "1.5m", "24h", "7d" as whole milliseconds; zero needs no unit. Limits are in milliseconds. */
export function duration(limits: { min?: number; max?: number } = {}) {
  const { min = 0, max = MAX_DURATION_MS } = limits;
  const range = `${min > 0 ? ` of at least ${min}ms` : ""} of at most ${limits.max === undefined ? "36500d" : `${max}ms`}`;
  return parsed(`a duration such as 250ms, 15s, 10m, 24h or 7d${range}`, (value) => {
    const ms = durationMs(value);
    return ms === undefined || ms < min || ms > max ? undefined : ms;
  });
}

export function integer(limits: { min?: number; max?: number } = {}) {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = limits;
  const range = `${limits.min === undefined ? "" : ` of at least ${min}`}${limits.max === undefined ? "" : ` up to ${max}`}`;
  return parsed(`a whole number${range}`, (value) => {
    const number = /^-?\d{1,16}$/.test(value) ? Number(value) : undefined;
    return number === undefined || number < min || number > max ? undefined : number;
  });
}

const flags = new Map(["true", "1", "yes", "on"].map((word) => [word, true]));
for (const word of ["false", "0", "no", "off"]) flags.set(word, false);

export function flag() {
  return parsed("true or false", (value) => flags.get(value.toLowerCase()));
}

/** A TCP port; 0 lets the system pick one. */
export function port() {
  return integer({ min: 0, max: 65_535 });
}

export function text(limits: { max?: number } = {}) {
  const { max = 1_024 } = limits;
  return parsed(`a text of at most ${max} characters`, (value) =>
    value.length === 0 || value.length > max ? undefined : value,
  );
}

export function choice<const T extends string>(values: readonly T[]) {
  return parsed(`one of ${values.join(", ")}`, (value) => values.find((known) => known === value.toLowerCase()));
}

/** A secret text, taken as it stands. */
export function secret() {
  return required().transform((value) => new Secret(value));
}

/** A key of exactly `bytes` bytes in base64 or base64url. */
export function base64Key(bytes: number) {
  const parse = (value: string) => {
    const key = /^[A-Za-z0-9+/_-]+={0,2}$/.test(value) ? Buffer.from(value, "base64") : Buffer.alloc(0);
    return key.length === bytes ? new Secret(key) : undefined;
  };
  return parsed(`${bytes} bytes in base64 (openssl rand -base64 ${bytes})`, parse, false);
}

/** `NAME=bytes` of known names, comma separated. */
export function sizes<const T extends string>(names: readonly T[], { min }: { min: number }) {
  const rule = `NAME=bytes, comma separated, with the names ${names.join(", ")} and at least ${min} bytes each`;
  return parsed(rule, (value) => {
    const bytes = new Map<T, number>();
    for (const item of value.split(",")) {
      const [word, number = "", ...more] = item.split("=").map((part) => part.trim());
      const name = names.find((known) => known === word);
      if (name === undefined || more.length > 0 || bytes.has(name) || !/^\d{1,15}$/.test(number)) return undefined;
      if (Number(number) < min) return undefined;
      bytes.set(name, Number(number));
    }
    return bytes;
  });
}

/** Comma separated; blanks around the items and empty items are dropped. */
export function stringList() {
  return required().transform((value) =>
    value
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== ""),
  );
}

/** An http or https URL without credentials, query or trailing slash. */
export function httpUrl() {
  return parsed("an http:// or https:// URL without credentials", (value) => {
    const url = URL.parse(value);
    if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") return undefined;
    return url.search === "" && url.hash === "" ? url.href.replace(/\/+$/, "") : undefined;
  });
}

/** What is wrong with a PostgreSQL URL, without quoting any of it. */
export function databaseUrlProblem(value: string): string | undefined {
  const url = URL.parse(value.trim());
  if (url === null) return "must be a URL of the form postgres://user:password@host:port/database";
  if (!/^postgres(ql)?:$/.test(url.protocol)) return "must begin with postgres:// or postgresql://";
  return url.pathname.length > 1 ? undefined : "must name a database: postgres://user:password@host:port/database";
}

/** A PostgreSQL URL, as a secret because it carries the password. */
export function databaseUrl() {
  return required().transform((value, ctx) => {
    const problem = databaseUrlProblem(value);
    if (problem === undefined) return new Secret(value.trim());
    ctx.addIssue({ code: "custom", message: problem });
    return z.NEVER;
  });
}

/** One NATS URL or several, comma separated, as a secret because they carry the password. */
export function natsUrl() {
  const parse = (value: string) =>
    value.split(",").every((part) => /^(nats|tls|ws|wss):$/.test(URL.parse(part.trim())?.protocol ?? ""))
      ? new Secret(value)
      : undefined;
  return parsed("a URL of the form nats://user:password@host:port", parse, false);
}
