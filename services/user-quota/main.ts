import { runMain } from "#platform/lifecycle/run-main.ts";
import { loadUserQuotaConfig } from "./config.ts";
import { startUserQuota } from "./service.ts";

await runMain("user-quota", (signal) => startUserQuota(loadUserQuotaConfig(), signal));
