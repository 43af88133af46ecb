import { expect, test } from "vitest";
import { createLogger } from "./logger.ts";

function logged(write: (log: ReturnType<typeof createLogger>) => void): string {
  const lines: string[] = [];
  write(createLogger("auth", "trace", { write: (line) => void lines.push(line) }));
  return lines.join("");
}

test("secrets are redacted by field name, at any depth and in child bindings", () => {
  const line = logged((log) =>
    log.child({ authorization: "opensesame" }).info({
      user: "bob",
      a: { b: { c: [{ password: 'open"sesame' }, { refresh_token: "opensesame", clientSecret: "opensesame" }] } },
      tokens: ["opensesame", "open\\sesame"],
      joinTokenId: "visible-id",
      access_token_expires_at: "2026-01-01",
    }),
  );
  expect(line).not.toContain("sesame");
  expect(line).toContain("visible-id");
  expect(line).toContain("2026-01-01");
  expect(JSON.parse(line)).toMatchObject({ level: "info", name: "auth", user: "bob" });
});

test("connection strings, bearer tokens, JWTs and private keys are redacted inside messages and causes", () => {
  const cause = new Error("connect postgres://auth_app:opensesame@db:5432/x failed, password=opensesame");
  const line = logged((log) => {
    log.error(
      { err: new Error("cannot start with nats://opensesame@host:4222", { cause }) },
      "at https://u:opensesame@h",
    );
    log.warn("Authorization: Bearer opensesame.opensesame AUTH_SECRET='opensesame'");
    log.warn("eyJhbGciOiJFZERTQSJ9.opensesame.opensesame");
    log.warn("-----BEGIN PRIVATE KEY-----\nopensesame\n-----END PRIVATE KEY-----");
  });
  expect(line).not.toContain("sesame");
  expect(line).toContain("@db:5432/x");
  expect(line).toContain("cannot start");
});

test("an error is logged with its cause chain and without the values that a driver attaches", () => {
  const cause = Object.assign(new Error("duplicate key"), {
    code: "23505",
    constraint: "users__username",
    detail: "Key (username)=(bob) already exists.",
  });
  const line = logged((log) => log.error({ err: new Error("register failed", { cause }) }));
  const entry = JSON.parse(line);
  expect(entry.err.message).toBe("register failed");
  expect(entry.err.cause).toMatchObject({ message: "duplicate key", code: "23505", constraint: "users__username" });
  expect(line).not.toContain("bob");
});

test("a long hostile text does not stall the redaction", () => {
  const before = process.cpuUsage();
  for (const text of [
    "token".repeat(20_000),
    `${"a".repeat(100_000)}://`,
    "password = ".repeat(10_000),
    '\\"'.repeat(50_000),
  ]) {
    logged((log) => log.info({ text }));
  }
  // The processor's time: others may have it meanwhile.
  expect(process.cpuUsage(before).user).toBeLessThan(4_000_000);
});
