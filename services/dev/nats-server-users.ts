import { streamDefinitions } from "#platform/nats/streams.ts";

/** A user of nats-server with what it may publish and subscribe to; everything else is refused. */
export interface NatsUser {
  user: string;
  password: string;
  permissions: { publish: { allow: string[] }; subscribe: { allow: string[] } };
}

interface ServiceRights {
  readonly events: readonly string[];
  readonly streams: readonly string[];
}

const services: Readonly<Record<string, ServiceRights>> = {
  auth: { events: ["decentrastore.user.>"], streams: ["USERS"] },
  "user-quota": { events: ["decentrastore.quota.>"], streams: ["QUOTAS"] },
  "node-registry": {
    events: ["decentrastore.node.>", "decentrastore.chunk.>", "decentrastore.upload.>"],
    streams: ["NODES", "CHUNKS", "NODE_HEARTBEATS"],
  },
};

/** Who connects to NATS, with fresh or kept passwords from the caller. */
export const natsUserNames = [...Object.keys(services), "subscriber", "operator"];

/** One user per service, a read-only one for strangers, and one for operators' commands, who may do everything. */
export function natsUsers(passwords: Readonly<Record<string, string>>): NatsUser[] {
  return natsUserNames.map((user) => {
    const password = passwords[user];
    if (password === undefined || password === "") throw new Error(`the NATS user ${user} has no password`);
    return { user, password, permissions: permissionsOf(user) };
  });
}

/**
 * The subscriber lives in an account of its own, which the events and three questions about streams cross. In the
 * services' account it could write into any stream in spite of its permissions: the server sends the answer to a
 * question to whatever subject the question names, as the server.
 */
export function natsAccounts(passwords: Readonly<Record<string, string>>): Record<string, unknown> {
  const users = natsUsers(passwords);
  const streams = ["decentrastore.>", "_INBOX.subscription.>"];
  const account = "CONTROL_PLANE";
  return {
    [account]: {
      jetstream: "enabled",
      users: users.filter(({ user }) => user !== "subscriber"),
      exports: [...streams.map((stream) => ({ stream })), ...questions.map((service) => ({ service }))],
    },
    SUBSCRIBERS: {
      users: users.filter(({ user }) => user === "subscriber"),
      imports: [
        ...streams.map((subject) => ({ stream: { account, subject } })),
        ...questions.map((subject) => ({ service: { account, subject } })),
      ],
    },
  };
}

const questions = ["$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*"];

function permissionsOf(user: string): NatsUser["permissions"] {
  const service = services[user];
  if (service !== undefined) return servicePermissions(user, service);
  if (user === "operator") return { publish: { allow: [">"] }, subscribe: { allow: [">"] } };
  // No right on $JS.API.CONSUMER: with it one could delete a service's consumer, or let one deliver into another stream.
  return {
    publish: { allow: questions },
    subscribe: { allow: ["decentrastore.>", "_INBOX.>"] },
  };
}

/** Answers arrive under `_INBOX_<user>`, which the subscriber's `_INBOX.>` does not cover. */
function servicePermissions(user: string, { events, streams }: ServiceRights): NatsUser["permissions"] {
  return {
    publish: {
      allow: [
        ...events,
        `decentrastore.dead.${user}.>`,
        ...questions,
        ...[...streams, "DEAD_LETTERS"].map((stream) => `$JS.API.STREAM.CREATE.${stream}`),
        ...streams.map((stream) => `$JS.API.STREAM.UPDATE.${stream}`),
        ...Object.keys(streamDefinitions).flatMap((stream) => consumerRights(stream, durableName(user, stream))),
      ],
    },
    subscribe: { allow: ["decentrastore.>", `_INBOX_${user}.>`] },
  };
}

/** NATS has no wildcard within a word, so each service's consumer of each stream has one fixed name. */
function durableName(user: string, stream: string): string {
  return `${user}-${stream.toLowerCase().replaceAll("_", "-")}`;
}

function consumerRights(stream: string, durable: string): string[] {
  return [
    `$JS.API.CONSUMER.CREATE.${stream}.${durable}`,
    `$JS.API.CONSUMER.CREATE.${stream}.${durable}.>`,
    `$JS.API.CONSUMER.DURABLE.CREATE.${stream}.${durable}`,
    `$JS.API.CONSUMER.INFO.${stream}.${durable}`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`,
    `$JS.API.CONSUMER.DELETE.${stream}.${durable}`,
    `$JS.ACK.${stream}.${durable}.>`,
    // The longer form of newer servers, with domain and account in front.
    `$JS.ACK.*.*.${stream}.${durable}.>`,
  ];
}
