import { z } from "zod";
import { writeWhole } from "../sample-node/identity.ts";
import type { Database, Surroundings } from "./infrastructure.ts";
import { runCommand } from "./operator-command.ts";
import { preferSet, type ServiceName } from "./settings.ts";

// The first admin and the service clients, made with the commands that an operator would use. All of them may run
// again: what is there already stays as it is.

/** The service clients of a local network and what each may do; `dev` is the one for trying things out. */
const clientScopes: Readonly<Record<string, string>> = {
  "user-quota": "usage.read",
  "node-registry": "quota.reserve",
  dev: "all",
};
export const serviceClientNames = Object.keys(clientScopes);

export async function bootstrapAccounts(around: Surroundings, database: Database): Promise<void> {
  const { secrets } = around;
  const admin = command(around, database, "auth", "create-admin.ts", ["--username", "admin", "--json"], {
    ADMIN_PASSWORD: secrets.adminPassword,
  });
  const clients = Object.entries(clientScopes).map(([name, scopes]) =>
    command(
      around,
      database,
      "auth",
      "create-service-client.ts",
      ["--name", name, "--client-id", name, "--scopes", scopes, "--json"],
      { CLIENT_SECRET: secrets.serviceClients[name] ?? "" },
    ),
  );
  await Promise.all([admin, ...clients]);
}

const joinTokenSchema = z.object({ joinToken: z.string(), caCertificatePem: z.string() });

/** A join token for any number of nodes, and the CA's certificate at `ca.pem` in the home folder. */
export async function issueJoinToken(around: Surroundings, database: Database): Promise<string> {
  const args = ["--max-uses", "0", "--ttl", "30d", "--json"];
  const output = await command(around, database, "node-registry", "create-join-token.ts", args, {});
  const { joinToken, caCertificatePem } = joinTokenSchema.parse(JSON.parse(output));
  await writeWhole(around.home.path("ca.pem"), caCertificatePem);
  return joinToken;
}

async function command(
  around: Surroundings,
  database: Database,
  service: ServiceName,
  script: string,
  args: readonly string[],
  secretEnvironment: Record<string, string>,
): Promise<string> {
  const wantedLocally = {
    KEY_ENCRYPTION_KEY: around.secrets.keyEncryptionKey,
    NODE_COMPILE_CACHE: around.home.path("compile-cache"),
  };
  return await runCommand(`services/${service}/${script}`, args, {
    ...preferSet(process.env, wantedLocally),
    ...database.environmentOf(service),
    ...secretEnvironment,
  });
}
