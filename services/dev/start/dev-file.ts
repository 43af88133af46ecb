import { z } from "zod";
import { homeFolder, readJson } from "./home.ts";

/** What `npm start` leaves for clients and commands in `.decentrastore/dev.json`. */
export const devFileSchema = z.object({
  authUrl: z.string(),
  userQuotaUrl: z.string(),
  nodeRegistryUrl: z.string(),
  nodeEdgeAddress: z.string(),
  caCertificatePath: z.string(),
  natsUrl: z.string(),
  databaseUrl: z.string(),
  admin: z.object({ username: z.string(), password: z.string() }),
  joinToken: z.string(),
  serviceClient: z.object({ clientId: z.string(), clientSecret: z.string() }),
  pids: z.object({
    auth: z.int(),
    userQuota: z.int(),
    nodeRegistry: z.int(),
    postgres: z.int().optional(),
    nats: z.int().optional(),
  }),
});
export type DevFile = z.infer<typeof devFileSchema>;

/** The running local control plane; throws with the command that starts one. */
export async function readDevFile(env: NodeJS.ProcessEnv): Promise<DevFile> {
  const path = `${homeFolder(env)}/dev.json`;
  const found = await readJson(path, devFileSchema);
  if (found === undefined) throw new Error(`${path} is not there: start the control plane first with "npm start"`);
  return found;
}
