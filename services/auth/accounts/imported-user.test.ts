import { expect, test } from "vitest";
import { importedUser, type OriginalUser } from "./imported-user.ts";

const original: OriginalUser = {
  username: "Old User",
  email: "Old@example.org",
  passwordHash: `$2b$12$${"a".repeat(53)}`,
  salt: "0f".repeat(16),
  createdAt: Temporal.Instant.from("2019-01-01T00:00:00Z"),
  isAdmin: true,
};
const userId = crypto.randomUUID();
const problemOf = (change: Partial<OriginalUser>) => {
  const result = importedUser(userId, { ...original, ...change });
  return "problem" in result ? result.problem : undefined;
};

test("an original user keeps name, hash, salt and date, and gets the keys to be compared by", () => {
  expect(importedUser(userId, original)).toMatchObject({
    user: { ...original, userId, usernameKey: "old user", emailKey: "old@example.org" },
  });
  expect(importedUser(userId, { ...original, email: "" })).toMatchObject({ user: { email: null, emailKey: null } });
  expect(problemOf({ username: "ab" })).toBeUndefined();
});

test("what cannot be compared, or would cost too much to check, is named and not quoted", () => {
  expect(problemOf({ username: "" })).toContain("username");
  expect(problemOf({ username: "x".repeat(10_000) })).toContain("username");
  expect(problemOf({ username: "a\0b" })).toContain("username");
  expect(problemOf({ email: "nowhere" })).toContain("email");
  expect(problemOf({ salt: "" })).toContain("salt");
  expect(problemOf({ salt: "x".repeat(65) })).toContain("salt");
  const secret = `$2b$20$${"s".repeat(53)}`;
  expect(problemOf({ passwordHash: secret })).toContain("cost 20");
  expect(problemOf({ passwordHash: secret })).not.toContain("sss");
});
