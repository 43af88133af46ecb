import { expect, test } from "vitest";
import { loadUserQuotaConfig } from "./config.ts";

const least = {
  DATABASE_URL: "postgres://user@127.0.0.1/decentrastore",
  NATS_URL: "nats://127.0.0.1:1",
  SERVICE_CLIENT_ID: "user-quota",
  SERVICE_CLIENT_SECRET: "secret",
};

test("the defaults are those of the contract", () => {
  expect(loadUserQuotaConfig(least)).toMatchObject({
    PORT: 7102,
    OPS_PORT: 7192,
    DEFAULT_STORAGE_QUOTA_BYTES: 10_737_418_240,
    RESERVATION_SWEEP_INTERVAL: 30_000,
    RESERVATION_RETENTION: 30 * 86_400_000,
    RECONCILE_INTERVAL: 60_000,
    RECONCILE_SAMPLE_SIZE: 20,
  });
});

test("all problems are told together", () => {
  const wrong = { DEFAULT_STORAGE_QUOTA_BYTES: "-1", RESERVATION_SWEEP_INTERVAL: "often", RECONCILE_SAMPLE_SIZE: "0" };
  const { SERVICE_CLIENT_ID: _id, ...rest } = least;
  expect(() => loadUserQuotaConfig({ ...rest, ...wrong })).toThrow(
    /SERVICE_CLIENT_ID[\s\S]*DEFAULT_STORAGE_QUOTA_BYTES[\s\S]*RESERVATION_SWEEP_INTERVAL[\s\S]*RECONCILE_SAMPLE_SIZE/,
  );
});
