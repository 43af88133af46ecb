import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";

/** What is wrong with a database URL; it quotes parameters, never the user, the password or the host. */
export class DatabaseUrlError extends Error {
  override readonly name = "DatabaseUrlError";
}

export interface ConnectionTarget {
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly database: string;
  readonly applicationName?: string;
  readonly options?: string;
  readonly connectTimeoutMs?: number;
  readonly channelBinding: boolean;
  readonly sslMode: SslMode;
  readonly ssl: ConnectionOptions | false;
  /** Parameters of other drivers that have no meaning here; worth a warning. */
  readonly ignored: readonly string[];
}

const sslModes = ["disable", "no-verify", "require", "verify-ca", "verify-full"] as const;
export type SslMode = (typeof sslModes)[number];

const known = new Set(
  "host port user password dbname application_name options connect_timeout channel_binding"
    .split(" ")
    .concat(["sslmode", "sslrootcert", "sslcert", "sslkey"]),
);

/**
 * Reads a `postgres://` or `postgresql://` URL as libpq does, with one difference: without `sslmode` the connection is
 * encrypted (`require`), except to this machine. `prefer` and `allow` are refused because they fall back to plaintext
 * without a word.
 */
export function parseDatabaseUrl(text: string): ConnectionTarget {
  const url = URL.parse(text.trim());
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol)) {
    throw new DatabaseUrlError("the database URL must have the form postgres://user:password@host:port/database");
  }
  const parameters = url.searchParams;
  const host = parameters.get("host") ?? decode(url.hostname).replace(/^\[(.*)\]$/, "$1");
  if (host.includes(",")) {
    throw new DatabaseUrlError("the database URL names several hosts; put a proxy or a DNS name in front of them");
  }
  const port = parameters.get("port") ?? url.port;
  const sslMode = sslModeOf(parameters.get("sslmode"), host);
  return {
    ...optional("host", host),
    ...optional("port", port === "" ? undefined : Number(port)),
    ...optional("user", parameters.get("user") ?? decode(url.username)),
    ...optional("password", parameters.get("password") ?? decode(url.password)),
    database: databaseOf(parameters.get("dbname") ?? decode(url.pathname.slice(1))),
    ...optional("applicationName", parameters.get("application_name")),
    ...optional("options", parameters.get("options")),
    ...optional("connectTimeoutMs", connectTimeoutOf(parameters.get("connect_timeout"))),
    channelBinding: parameters.get("channel_binding") === "require",
    sslMode,
    ssl: tlsOf(sslMode, host, parameters),
    ignored: [...parameters.keys()].filter((key) => !known.has(key)),
  };
}

/** The URL without its password, for people: `postgres://auth_app:***@db:5432/decentrastore`. */
export function maskDatabaseUrl(text: string): string {
  const url = URL.parse(text.trim());
  if (url === null) return "(not a URL)";
  if (url.password !== "") url.password = "***";
  for (const key of [...url.searchParams.keys()]) {
    if (/password|options/.test(key)) url.searchParams.set(key, "***");
  }
  return url.href;
}

/** A value for a key of the target, or nothing: absent keys stay absent (`exactOptionalPropertyTypes`). */
function optional<K extends string, V>(key: K, value: V | "" | null | undefined): { [P in K]?: V } {
  const target: { [P in K]?: V } = {};
  if (value !== "" && value !== null && value !== undefined) target[key] = value;
  return target;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new DatabaseUrlError("the database URL has a % that must be written as %25");
  }
}

function databaseOf(name: string): string {
  if (name === "") throw new DatabaseUrlError("the database URL must name a database after the host");
  return name;
}

function connectTimeoutOf(seconds: string | null): number | undefined {
  if (seconds === null) return undefined;
  if (!/^\d{1,4}$/.test(seconds)) throw new DatabaseUrlError("connect_timeout must be a number of seconds");
  return Number(seconds) * 1_000;
}

/** An empty host and one that begins with a slash mean a Unix socket. */
export function isLocalHost(host: string): boolean {
  return host === "" || host.startsWith("/") || /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(host);
}

function sslModeOf(value: string | null, host: string): SslMode {
  if (value === null) return isLocalHost(host) ? "disable" : "require";
  const mode = sslModes.find((name) => name === value);
  if (mode === undefined) {
    throw new DatabaseUrlError(`sslmode=${value.slice(0, 20)} is not supported; use one of ${sslModes.join(", ")}`);
  }
  return mode;
}

function tlsOf(mode: SslMode, host: string, parameters: URLSearchParams): ConnectionOptions | false {
  if (mode === "disable" || host.startsWith("/")) return false;
  const rootFile = parameters.get("sslrootcert");
  const ca = rootFile === null || rootFile === "system" ? undefined : pem("sslrootcert", rootFile);
  const certificates = {
    ...optional("ca", ca),
    ...optional("cert", fileOf("sslcert", parameters)),
    ...optional("key", fileOf("sslkey", parameters)),
  };
  // As in libpq, a root certificate turns `require` into `verify-ca`: whoever names one wants it used.
  if (mode === "no-verify" || (mode === "require" && ca === undefined)) {
    return { ...certificates, rejectUnauthorized: false };
  }
  if (mode === "verify-full") return { ...certificates, rejectUnauthorized: true };
  return { ...certificates, rejectUnauthorized: true, checkServerIdentity: () => undefined };
}

function fileOf(parameter: string, parameters: URLSearchParams): string | undefined {
  const file = parameters.get(parameter);
  return file === null ? undefined : pem(parameter, file);
}

function pem(parameter: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new DatabaseUrlError(`${parameter} names a file that cannot be read: ${file}`, { cause });
  }
}
