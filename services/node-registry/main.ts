import { runMain } from "#platform/lifecycle/run-main.ts";
import { loadNodeRegistryConfig } from "./config.ts";
import { startNodeRegistry } from "./service.ts";

await runMain("node-registry", (signal) => startNodeRegistry(loadNodeRegistryConfig(), signal));
