import { defineConfig } from "vitest/config";
import { secondChances } from "./services/platform/testing/second-chances.ts";

/**
 * A test's suffix is its role, and the role decides what it may use: `unit` starts no server. The others share two cores
 * with PostgreSQL, NATS and one another, where a wait can pass its limit: they get a second chance, which is named at the end
 * of the run. What fails twice is broken.
 */
function project(name: string, include: string[], exclude: string[] = []) {
  const retry = name === "unit" ? 0 : 1;
  // Some tests kill PostgreSQL or NATS and wait until it is back, and a busy machine takes several times what a quiet one does.
  const limits = { testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 20_000 } } };
  return { test: { name, include, exclude, retry, ...limits } };
}

export default defineConfig({
  test: {
    // At the root it runs once for all projects.
    globalSetup: ["services/platform/testing/global-setup.ts"],
    maxWorkers: 2,
    reporters: ["default", secondChances],
    projects: [
      project("unit", ["{services,db}/**/*.test.ts"], ["**/*.{store,worker,db,rpc,system}.test.ts"]),
      project("store", ["{services,db}/**/*.{store,worker,db}.test.ts"]),
      project("rpc", ["{services,db}/**/*.rpc.test.ts"]),
      project("system", ["{services,db}/**/*.system.test.ts"]),
    ],
  },
});
