import { randomBytes } from "node:crypto";
import { natsUserNames } from "../nats-server.ts";

// Prints the secrets that docker-compose.yml asks for: node_modules/.bin/node services/dev/compose/env.ts > .env

const secret = () => randomBytes(24).toString("base64url");
const clientServices = ["USER_QUOTA", "NODE_REGISTRY"];
const lines = [
  `KEY_ENCRYPTION_KEY=${randomBytes(32).toString("base64")}`,
  `POSTGRES_PASSWORD=${secret()}`,
  ...["AUTH", "USER_QUOTA", "NODE_REGISTRY"].map((name) => `${name}_DATABASE_PASSWORD=${secret()}`),
  ...natsUserNames.map((user) => `NATS_PASSWORD_${user.replaceAll("-", "_").toUpperCase()}=${secret()}`),
  ...clientServices.map((name) => `${name}_CLIENT_SECRET=${secret()}`),
  `ADMIN_PASSWORD=${secret()}`,
];
process.stdout.write(`${lines.join("\n")}\n`);
