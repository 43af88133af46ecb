import { migrateWithLogins } from "../start/database.ts";
import { runCommand } from "../start/operator-command.ts";

// What has to be there before the containers of the services start: schemas, roles that can log in, the first admin and
// the services' own clients. May run again.

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: make an .env with services/dev/compose/env.ts`);
  return value;
}

await migrateWithLogins(required("DATABASE_URL"), {
  auth_app: required("AUTH_DATABASE_PASSWORD"),
  user_quota_app: required("USER_QUOTA_DATABASE_PASSWORD"),
  node_registry_app: required("NODE_REGISTRY_DATABASE_PASSWORD"),
});
const clients = [
  { name: "user-quota", scopes: "usage.read", secret: required("USER_QUOTA_CLIENT_SECRET") },
  { name: "node-registry", scopes: "quota.reserve", secret: required("NODE_REGISTRY_CLIENT_SECRET") },
];
for (const { name, scopes, secret } of clients) {
  const args = ["--name", name, "--client-id", name, "--scopes", scopes];
  await runCommand("services/auth/create-service-client.ts", args, { ...process.env, CLIENT_SECRET: secret });
}
await runCommand("services/auth/create-admin.ts", ["--username", "admin"], process.env);
process.stdout.write("schemas, roles, the admin and the service clients are there\n");
