import { runMain } from "#platform/lifecycle/run-main.ts";

// Imported by the start function, so that what they load comes out of the compile cache.
await runMain("node-registry", async (signal) => {
  const { loadNodeRegistryConfig } = await import("./config.ts");
  const { startNodeRegistry } = await import("./service.ts");
  return startNodeRegistry(loadNodeRegistryConfig(), signal);
});
