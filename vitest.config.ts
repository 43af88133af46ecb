import { defineConfig } from "vitest/config";

/** A test's suffix is its role, and the role decides what it may use: `unit` starts no server. */
function project(name: string, include: string[], exclude: string[] = []) {
  // Some tests kill PostgreSQL or NATS and wait until it is back.
  return { test: { name, include, exclude, testTimeout: 30_000, hookTimeout: 60_000 } };
}

export default defineConfig({
  test: {
    // At the root it runs once for all projects.
    globalSetup: ["services/platform/testing/global-setup.ts"],
    maxWorkers: 2,
    projects: [
      project("unit", ["{services,db}/**/*.test.ts"], ["**/*.{store,worker,db,rpc,system}.test.ts"]),
      project("store", ["{services,db}/**/*.{store,worker,db}.test.ts"]),
      project("rpc", ["{services,db}/**/*.rpc.test.ts"]),
      project("system", ["{services,db}/**/*.system.test.ts"]),
    ],
  },
});
