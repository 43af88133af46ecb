import { z } from "zod";
import { readDevFile } from "./start/dev-file.ts";
import { homeFolder, readJson } from "./start/home.ts";

const secretsSchema = z.object({ natsPasswords: z.record(z.string(), z.string()) });

/** Where events are read: NATS_URL, or the read-only user of the network that `npm start` runs. */
export async function subscriberNatsUrl(env: NodeJS.ProcessEnv): Promise<string> {
  return env.NATS_URL || (await readDevFile(env)).natsUrl;
}

/** For commands that change something at the broker: NATS_URL, or the operator of the local network. */
export async function operatorNatsUrl(env: NodeJS.ProcessEnv): Promise<string> {
  if (env.NATS_URL) return env.NATS_URL;
  const url = new URL((await readDevFile(env)).natsUrl);
  const secrets = await readJson(`${homeFolder(env)}/secrets.json`, secretsSchema);
  const password = secrets?.natsPasswords.operator;
  if (password === undefined) throw new Error("set NATS_URL to the operator's URL of the broker");
  url.username = "operator";
  url.password = password;
  return url.toString();
}
