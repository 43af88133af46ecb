import { expect, test } from "vitest";
import { natsServerConfig, natsUserNames, natsUsers } from "./nats-server.ts";

const passwords = Object.fromEntries(natsUserNames.map((user) => [user, `secret of ${user}`]));
const options = { folder: "/data", portsFolder: "/data/ports", passwords };

test("only servers that know sync_interval are given it", () => {
  expect(natsServerConfig([2, 9], options).jetstream).toEqual({ store_dir: "/data" });
  expect(natsServerConfig([2, 10], options).jetstream).toEqual({ store_dir: "/data", sync_interval: "10s" });
  expect(natsServerConfig([3, 0], options).jetstream).toEqual({ store_dir: "/data", sync_interval: "10s" });
});

test("it listens on loopback only, on any free port unless told", () => {
  expect(natsServerConfig([2, 9], options)).toMatchObject({ host: "127.0.0.1", port: -1 });
  expect(natsServerConfig([2, 9], { ...options, port: 14_222 })).toMatchObject({ port: 14_222 });
});

test("a user without a password is refused instead of let in without one", () => {
  expect(() => natsUsers({ ...passwords, subscriber: "" })).toThrow(/subscriber has no password/);
  expect(natsUsers(passwords).map(({ user }) => user)).toEqual([
    "auth",
    "user-quota",
    "node-registry",
    "subscriber",
    "operator",
  ]);
});

test("the subscriber's rights are exactly those of a reader", () => {
  const subscriber = natsUsers(passwords).find(({ user }) => user === "subscriber");
  expect(subscriber?.permissions).toEqual({
    publish: { allow: ["$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*"] },
    subscribe: { allow: ["decentrastore.>", "_INBOX.>"] },
  });
});

test("no service may touch what belongs to another, nor delete or purge a stream", () => {
  for (const { user, permissions } of natsUsers(passwords).filter(({ user }) => user !== "operator")) {
    for (const subject of permissions.publish.allow) {
      expect(subject).not.toMatch(/^>|STREAM\.(DELETE|PURGE|MSG\.DELETE)/);
      const consumer = /CONSUMER\.[A-Z.]+\.[A-Z_]+\.([a-z-]+)/.exec(subject)?.[1];
      if (consumer !== undefined) expect(consumer.startsWith(user)).toBe(true);
    }
  }
});
