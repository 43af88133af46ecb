import { createServer } from "node:net";
import { expect, it } from "vitest";
import { freePort } from "./ports.ts";
import { anyPort, preferSet, readSettings } from "./settings.ts";

it("never hands out a port twice, so that no two services of a start are told the same", async () => {
  const found = await Promise.all(Array.from({ length: 2_000 }, freePort));
  expect(new Set(found).size).toBe(2_000);
  expect(Math.max(...found)).toBeLessThan(32_768);
});

it("passes over a port that somebody listens on", async () => {
  const server = createServer();
  const next = (await freePort()) + 1;
  await new Promise<void>((resolve) => server.listen(next, "127.0.0.1", resolve));
  try {
    expect(await freePort()).not.toBe(next);
  } finally {
    server.close();
  }
});

it("lets what is set go before its own, and nothing that is empty", () => {
  const ours = { KEY_ENCRYPTION_KEY: "ours", NODE_COMPILE_CACHE: "ours" };
  const env = { KEY_ENCRYPTION_KEY: "", NODE_COMPILE_CACHE: "theirs", LOG_LEVEL: "debug" };
  expect(preferSet(env, ours)).toEqual({
    KEY_ENCRYPTION_KEY: "ours",
    NODE_COMPILE_CACHE: "theirs",
    LOG_LEVEL: "debug",
  });
});

it("names both variables that ask for one port", async () => {
  const port = String(await freePort());
  const env = { ...anyPort, USER_QUOTA_PORT: port, NODE_EDGE_PORT: port };
  await expect(readSettings(env)).rejects.toThrow(
    `NODE_EDGE_PORT and USER_QUOTA_PORT must not be the same port (${port})`,
  );
});

it("names the variable of a port that is taken, and of one that is none", async () => {
  const server = createServer();
  const taken = await freePort();
  await new Promise<void>((resolve) => server.listen(taken, "127.0.0.1", resolve));
  try {
    const env = { ...anyPort, AUTH_PORT: String(taken), NODE_EDGE_PORT: "70000" };
    await expect(readSettings(env)).rejects.toThrow(
      `port ${taken} is taken by another program: set AUTH_PORT to another, or to 0\n` +
        "NODE_EDGE_PORT must be a port from 0 to 65535",
    );
  } finally {
    server.close();
  }
});
