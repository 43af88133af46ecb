import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { schemas } from "#platform/migrations/files.ts";

const root = path.join(import.meta.dirname, "..");
// Numbers, although their page shows the seconds as text: their parser refuses text.
const file = z.object({
  build: z.object({ builder: z.literal("DOCKERFILE"), dockerfilePath: z.string() }),
  deploy: z.object({
    preDeployCommand: z.array(z.string()).length(1),
    startCommand: z.string(),
    healthcheckPath: z.literal("/readyz"),
    drainingSeconds: z.int(),
    overlapSeconds: z.int(),
  }),
});

test("each service has a railway.json that migrates its schema first and gives it time for a clean stop", () => {
  for (const schema of schemas) {
    const service = schema.replace("_", "-");
    const { build, deploy } = file.parse(
      JSON.parse(readFileSync(path.join(root, "services", service, "railway.json"), "utf8")),
    );
    expect(deploy.preDeployCommand).toEqual([`node db/migrate.ts --schema ${schema}`]);
    expect(deploy.startCommand).toBe(`tini -- node --max-semi-space-size=64 services/${service}/main.ts`);
    for (const named of [build.dockerfilePath, "db/migrate.ts", `services/${service}/main.ts`]) {
      expect(existsSync(path.join(root, named)), named).toBe(true);
    }
    // A clean stop may take 25 s.
    expect(deploy.drainingSeconds).toBeGreaterThan(25);
  }
});
