import { hash as argon2Hash, argon2id } from "argon2";
import bcrypt from "bcrypt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadCommonPasswords } from "./common-passwords.ts";
import { createPasswordHasher } from "./password-hash.ts";
import { passwordProblem } from "./password-policy.ts";
import { hashFormatOf, hashProblem } from "./phc.ts";
import { nameKey, usernameProblem } from "./username.ts";

const policy = { minLength: 12, common: loadCommonPasswords() };
const problemOf = (password: string, username = "margaret") => passwordProblem(password, { username }, policy);

describe("the password policy", () => {
  test("takes length over composition, in any script", () => {
    for (const password of [
      "correct horse battery staple",
      "all lower case letters",
      "пароль из нескольких слов",
      "鳥鳥獣戯画は国宝です笑笑一二",
      "🦊🐻🦊🐻‍❄️🐨🐯🦁🐮🐷🐸🐵🐔",
      "x7#kQ!v9zR2m",
      `${"long ".repeat(12)}tail`,
      "tr0ub4dor and three more",
    ]) {
      expect([password, problemOf(password)]).toEqual([password, undefined]);
    }
    expect(problemOf("a".repeat(0))).toBe("is required");
    expect(problemOf("elevenchars")).toContain("at least 12");
    expect(problemOf("æøå".repeat(43))).toContain("256 bytes");
    expect(problemOf("x y ".repeat(16))).toBeDefined();
  });

  test("refuses what a guesser tries first", () => {
    for (const password of [
      "password1234",
      "Password1234",
      "P@ssw0rd2024",
      "passwordpassword",
      "qwertyuiopasdfghjkl",
      "123456789012",
      "abcdefghijklmnop",
      "aaaaaaaaaaaaaaaa",
      "abababababab",
      "sunshine12345",
      "iloveyou1234567",
      "dragonmonkey",
    ]) {
      expect([password, problemOf(password)]).toEqual([password, expect.any(String)]);
    }
  });

  test("refuses what is made of the name", () => {
    expect(problemOf("margaret12345")).toContain("name");
    expect(problemOf("MargaretMargaret")).toContain("name");
    expect(problemOf("teragram-1987")).toContain("name");
    expect(problemOf("decentrastore1")).toContain("name");
    expect(problemOf("margaret likes the sea")).toBeUndefined();
  });

  test("never takes long and never throws, whatever it gets", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 300, size: "max" }),
        fc.string({ unit: "binary" }),
        (password, username) => {
          const problem = passwordProblem(password, { username }, policy);
          expect(problem === undefined || problem.length > 0).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("usernames", () => {
  test("have one key for every spelling that reads the same", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (name) => {
        const key = nameKey(name);
        expect(nameKey(key)).toBe(key);
        expect(nameKey(name.normalize("NFD"))).toBe(key);
        expect(nameKey(name.normalize("NFKC").toLowerCase())).toBe(key);
      }),
    );
  });

  test("are 3 to 80 characters without tricks", () => {
    for (const name of [
      "abc",
      "n".repeat(80),
      "O'Brien",
      "李小龍",
      "a b c",
      "name@example.org",
      "'; drop table users; --",
    ]) {
      expect([name, usernameProblem(name)]).toEqual([name, undefined]);
    }
    for (const name of [
      "",
      "ab",
      "n".repeat(81),
      " ab",
      "ab ",
      "a  b",
      "a\u0000b",
      "a\nb",
      "a\u200bb",
      "abc\u3164",
      "abc\u115f",
      "abc\u2800",
      "abc\ufe0f",
      "a\u034fbc",
      "a\ud800b",
      "a\u202eb",
    ]) {
      expect([name, usernameProblem(name)]).toEqual([name, expect.any(String)]);
    }
  });
});

describe("stored hashes", () => {
  const parameters = { memoryKib: 7_168, passes: 1, lanes: 1 };

  test("are not made with parameters that no check would admit", async () => {
    await expect(createPasswordHasher({ memoryKib: 131_072, passes: 3, lanes: 1 })).rejects.toThrow("too long");
    const dearest = await createPasswordHasher({ memoryKib: 131_072, passes: 2, lanes: 4 });
    expect(await dearest.verify(await dearest.hash("pässwörd"), "pässwörd")).toBe(true);
  });

  test("are PHC strings as the reference implementation writes them, and are renewed when parameters change", async () => {
    const hasher = await createPasswordHasher(parameters);
    const stored = await hasher.hash("pässwörd");
    expect(stored).toMatch(/^\$argon2id\$v=19\$m=7168,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    expect(await hasher.verify(stored, "pässwörd".normalize("NFD"))).toBe(true);
    expect(await hasher.verify(stored, "passwort")).toBe(false);
    expect(await hasher.rehash(stored, "pässwörd")).toBeUndefined();
    const stronger = await createPasswordHasher({ ...parameters, passes: 2 });
    const renewed = (await stronger.rehash(stored, "pässwörd")) ?? "";
    expect(hashFormatOf(renewed)).toMatchObject({ kind: "argon2id", passes: 2 });
    expect(await hasher.verify(renewed, "pässwörd")).toBe(true);
  });

  test("know a long password from a keyboard that takes its characters apart, and no longer one", async () => {
    const hasher = await createPasswordHasher(parameters);
    const password = "각".repeat(85);
    expect([Buffer.byteLength(password), Buffer.byteLength(password.normalize("NFD"))]).toEqual([255, 765]);
    const stored = await hasher.hash(password);
    expect(await hasher.verify(stored, password.normalize("NFD"))).toBe(true);
    const longer = await hasher.hash("각".repeat(86));
    expect(await hasher.verify(longer, "각".repeat(86).normalize("NFD"))).toBe(false);
  });

  test("of the original system verify on the first 72 bytes, before and after they are renewed", async () => {
    const hasher = await createPasswordHasher(parameters);
    const long = `${"p".repeat(72)} and a tail`;
    const otherTail = `${"p".repeat(72)} and a t`;
    for (const prefix of ["$2a$", "$2b$", "$2y$"]) {
      const stored = (await bcrypt.hash(long, 4)).replace("$2b$", prefix);
      expect(await hasher.verify(stored, otherTail)).toBe(true);
      expect(await hasher.verify(stored, "p".repeat(71))).toBe(false);
      const renewed = (await hasher.rehash(stored, otherTail)) ?? "";
      expect(hashFormatOf(renewed).kind).toBe("argon2id");
      expect(await hasher.verify(renewed, long)).toBe(true);
      expect(await hasher.verify(renewed, "p".repeat(71))).toBe(false);
      expect(await hasher.rehash(renewed, long)).toBeUndefined();
    }
    const short = await bcrypt.hash("short one", 4);
    const renewed = (await hasher.rehash(short, "short one")) ?? "";
    expect(await hasher.verify(renewed, "short one")).toBe(true);
    expect(await hasher.verify(renewed, `short one${"x".repeat(100)}`)).toBe(false);
  });

  test("that would cost too much, or say nothing of a kind we know, are neither taken nor checked", async () => {
    const salt = "c2FsdHNhbHRzYWx0c2FsdA";
    const tag = "A".repeat(43);
    const bcryptTail = "a".repeat(53);
    const bad = [
      `$2b$13$${bcryptTail}`,
      `$2b$31$${bcryptTail}`,
      `$2b$03$${bcryptTail}`,
      `$argon2id$v=19$m=1048576,t=1,p=1$${salt}$${tag}`,
      `$argon2id$v=19$m=19456,t=1000000,p=1$${salt}$${tag}`,
      `$argon2id$v=19$m=131072,t=16,p=1$${salt}$${tag}`,
      `$argon2id$v=19$m=19456,t=2,p=64$${salt}$${tag}`,
      `$argon2i$v=19$m=19456,t=2,p=1$${salt}$${tag}`,
      "pbkdf2:sha256:260000$x$y",
      "plain",
      "",
      `$2b$12$${bcryptTail}${"a".repeat(300)}`,
    ];
    const hasher = await createPasswordHasher(parameters);
    for (const stored of bad) {
      expect([stored, hashProblem(stored)]).toEqual([stored, expect.any(String)]);
      expect(await hasher.verify(stored, "anything")).toBe(false);
    }
    expect(hashProblem(`$2b$12$${bcryptTail}`)).toBeUndefined();
    // This library's own order of parameters.
    const foreign = await argon2Hash("x", { type: argon2id, memoryCost: 65_536, timeCost: 3, parallelism: 4 });
    expect(foreign).toContain(",p=4,t=3$");
    expect(hashProblem(foreign)).toBeUndefined();
    expect(await hasher.verify(foreign, "x")).toBe(true);
  });
});
