import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { natsServerConfig, natsUserNames } from "../nats-server.ts";

// Writes the configuration of compose's NATS server, with the same users and permissions as under `npm start`.
// NATS_PASSWORD_<USER> gives each user's password; NATS_CONFIG_FOLDER is the volume that the server reads.

const folder = process.env.NATS_CONFIG_FOLDER ?? "/nats";
const passwords = Object.fromEntries(
  natsUserNames.map((user) => {
    const variable = `NATS_PASSWORD_${user.replaceAll("-", "_").toUpperCase()}`;
    const password = process.env[variable];
    if (!password) throw new Error(`${variable} is not set: make an .env with services/dev/compose/env.ts`);
    return [user, password];
  }),
);
const config = natsServerConfig([2, 12], {
  folder: join(folder, "data"),
  portsFolder: folder,
  port: 4222,
  passwords,
  settings: { host: "0.0.0.0", http_port: 8222 },
});
await mkdir(join(folder, "data"), { recursive: true });
await writeFile(join(folder, "nats-server.json"), JSON.stringify(config, null, 2), { mode: 0o600 });
