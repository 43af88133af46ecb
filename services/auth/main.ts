import "./thread-pool.ts";
import { runMain } from "#platform/lifecycle/run-main.ts";

// Imported by the start function, so that what they load comes out of the compile cache.
await runMain("auth", async (signal) => {
  const { loadAuthConfig } = await import("./config.ts");
  const { startAuth } = await import("./service.ts");
  return startAuth(loadAuthConfig(), signal);
});
