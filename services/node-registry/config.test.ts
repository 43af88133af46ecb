import { expect, test } from "vitest";
import { loadNodeRegistryConfig } from "./config.ts";

const required = {
  DATABASE_URL: "postgres://node_registry@127.0.0.1/decentrastore",
  NATS_URL: "nats://127.0.0.1:4222",
  AUTH_URL: "http://127.0.0.1:7101",
  USER_QUOTA_URL: "http://127.0.0.1:7102",
  SERVICE_CLIENT_ID: "node-registry",
  SERVICE_CLIENT_SECRET: "secret",
  KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString("base64"),
};

test.each([
  [{}, 15_000],
  [{ NODE_LEASE_TTL: "6s" }, 2_400],
  [{ NODE_HEARTBEAT_INTERVAL: "10m" }, 24_000],
  [{ NODE_HEARTBEAT_INTERVAL: "1s", NODE_LEASE_TTL: "3s" }, 1_000],
])("with %j a node that comes when it is told to is never silent for half a lease", (env, intervalMs) => {
  expect(loadNodeRegistryConfig({ ...required, ...env }).NODE_HEARTBEAT_INTERVAL).toBe(intervalMs);
});

test.each([
  { REPUTATION_DISQUALIFY_BELOW: "0.9" },
  { REPUTATION_FORMULA: "beta-1", REPUTATION_PROBATION_BELOW: "0.7" },
])("with %j nodes would be shut out before they are on probation: it is refused", (env) => {
  expect(() => loadNodeRegistryConfig({ ...required, ...env })).toThrow(
    /REPUTATION_DISQUALIFY_BELOW \(0\.9\d?\) must not be above REPUTATION_PROBATION_BELOW \(0\.7\)/,
  );
});
