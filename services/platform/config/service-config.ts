import type { z } from "zod";
import { streamNames } from "#platform/nats/stream-settings.ts";
import { firstOf } from "./load-config.ts";
import { DatabaseUrl } from "./secret.ts";
import {
  base64Key,
  choice,
  databaseUrlProblem,
  duration,
  httpUrl,
  integer,
  natsUrl,
  port,
  secret,
  sizes,
  text,
} from "./types.ts";

export type ServiceName = "auth" | "user-quota" | "node-registry";
export type Schema = "auth" | "user_quota" | "node_registry";

const defaultPorts: Record<ServiceName, { main: number; ops: number }> = {
  auth: { main: 7101, ops: 7191 },
  "user-quota": { main: 7102, ops: 7192 },
  "node-registry": { main: 7103, ops: 7193 },
};

/** AUTH_DATABASE_URL, USER_QUOTA_DATABASE_URL or NODE_REGISTRY_DATABASE_URL; the general DATABASE_URL otherwise. */
export function serviceDatabaseUrl(service: ServiceName) {
  const own = `${service.replace("-", "_").toUpperCase()}_DATABASE_URL`;
  return firstOf([own, "DATABASE_URL"], (value, variable) => {
    const problem = databaseUrlProblem(value);
    return problem === undefined ? { value: new DatabaseUrl(value.trim(), variable !== own) } : { problem };
  });
}

/**
 * The variables that every service knows. A service takes those that it needs and adds its own:
 * `const { HOST, PORT, DATABASE_URL } = serviceConfigShape("auth")`.
 */
export function serviceConfigShape(service: ServiceName) {
  return {
    HOST: text({ max: 255 }).default("127.0.0.1"),
    PORT: port().default(defaultPorts[service].main),
    OPS_PORT: port().default(defaultPorts[service].ops),
    LOG_LEVEL: choice(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
    TRUSTED_PROXY_COUNT: integer({ min: 0, max: 10 }).default(0),
    ...databaseConfigShape(service),
    NATS_URL: natsUrl(),
    /** Sizes at which streams refuse new events, such as `CHUNKS=17179869184,USERS=2147483648`: raised, never lowered. */
    NATS_STREAM_MAX_BYTES: sizes(streamNames, { min: 1_048_576 }).optional(),
    /** Copies of each stream in a cluster; raised, never lowered. */
    NATS_STREAM_REPLICAS: integer({ min: 1, max: 5 }).optional(),
    AUTH_URL: httpUrl().default("http://127.0.0.1:7101"),
    USER_QUOTA_URL: httpUrl().default("http://127.0.0.1:7102"),
    NODE_REGISTRY_URL: httpUrl().default("http://127.0.0.1:7103"),
    AUTH_ISSUER: text().default("decentrastore"),
    SERVICE_CLIENT_ID: text(),
    SERVICE_CLIENT_SECRET: secret(),
    /** Encrypts the signing keys and the CA key in the database; PREVIOUS still decrypts while keys are rotated. */
    KEY_ENCRYPTION_KEY: base64Key(32),
    KEY_ENCRYPTION_KEY_PREVIOUS: base64Key(32).optional(),
  };
}

/** The values that `databaseConfigShape` asks for. */
export type DatabaseConfig = z.output<z.ZodObject<ReturnType<typeof databaseConfigShape>>>;

/** What a process needs to open a service's pool: the services, and commands that act on their tables. */
export function databaseConfigShape(service: ServiceName) {
  return {
    DATABASE_URL: serviceDatabaseUrl(service),
    DATABASE_POOL_SIZE: integer({ min: 1, max: 1_000 }).default(10),
    DATABASE_POOL_MAX_OVERFLOW: integer({ min: 0, max: 1_000 }).default(20),
    DATABASE_LOG_QUERIES: choice(["all", "slow", "off"]).default("slow"),
    /** What `slow` means. */
    DATABASE_SLOW_QUERY: duration({ min: 1 }).default(500),
  };
}
