import { runMain } from "#platform/lifecycle/run-main.ts";

// Imported by the start function, so that what they load comes out of the compile cache.
await runMain("user-quota", async (signal) => {
  const { loadUserQuotaConfig } = await import("./config.ts");
  const { startUserQuota } = await import("./service.ts");
  return startUserQuota(loadUserQuotaConfig(), signal);
});
