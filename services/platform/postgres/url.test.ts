import { expect, test } from "vitest";
import { DatabaseUrlError, maskDatabaseUrl, parseDatabaseUrl } from "./url.ts";

test("both prefixes, percent-encoding, IPv6 and Unix sockets are understood", () => {
  expect(parseDatabaseUrl("postgres://bob:p%40ss%2Fword@db:6543/app")).toMatchObject({
    host: "db",
    port: 6543,
    user: "bob",
    password: "p@ss/word",
    database: "app",
  });
  expect(parseDatabaseUrl("postgresql://[::1]/app")).toMatchObject({ host: "::1", sslMode: "disable" });
  expect(parseDatabaseUrl("postgres://%2Fvar%2Frun%2Fpostgresql/app")).toMatchObject({ host: "/var/run/postgresql" });
  expect(parseDatabaseUrl("postgres:///app?host=/tmp&port=7")).toMatchObject({ host: "/tmp", port: 7, ssl: false });
  expect(parseDatabaseUrl("postgresql://localhost/decentrastore")).not.toHaveProperty("user");
});

test("encryption is required by default, except to this machine", () => {
  const modeOf = (host: string) => parseDatabaseUrl(`postgres://${host}/app`).sslMode;
  expect(["localhost", "127.0.0.1", "127.1.2.3", "[::1]"].map(modeOf)).toEqual(Array(4).fill("disable"));
  expect(["db", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io"].map(modeOf)).toEqual(Array(4).fill("require"));
});

test.each([
  ["mysql://h/x", /form postgres:/],
  ["not a url", /form postgres:/],
  ["postgres://h", /must name a database/],
  ["postgres://a:5432,b:5432/x", /form postgres:|several hosts/],
  ["postgres://a,b/x", /several hosts/],
  ["postgres://h/x?sslmode=prefer", /sslmode=prefer is not supported; use one of disable/],
  ["postgres://u:100%@h/x", /must be written as %25/],
  ["postgres://h/x?connect_timeout=soon", /connect_timeout must be a number/],
  ["postgres://h/x?sslmode=verify-full&sslrootcert=/nowhere.pem", /sslrootcert names a file that cannot be read/],
])("%s is refused with its reason", (url, reason) => {
  expect(() => parseDatabaseUrl(url)).toThrow(DatabaseUrlError);
  expect(() => parseDatabaseUrl(url)).toThrow(reason);
});

test("no message and no mask shows the password", () => {
  for (const url of ["postgres://u:opensesame@h", "postgres://u:opensesame@h/x?sslmode=x", "x://u:opensesame@h/x"]) {
    expect(() => parseDatabaseUrl(url)).not.toThrow(/sesame/);
    expect(maskDatabaseUrl(url)).not.toContain("sesame");
  }
  expect(maskDatabaseUrl("postgres://u:opensesame@h:1/x?password=opensesame")).toBe(
    "postgres://u:***@h:1/x?password=***",
  );
});

test("what other drivers put into their URLs is listed, not refused", () => {
  expect(parseDatabaseUrl("postgres://h/x?schema=public&sslmode=require").ignored).toEqual(["schema"]);
});
