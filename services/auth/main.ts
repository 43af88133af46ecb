import "./thread-pool.ts";
import { runMain } from "#platform/lifecycle/run-main.ts";
import { loadAuthConfig } from "./config.ts";
import { startAuth } from "./service.ts";

await runMain("auth", (signal) => startAuth(loadAuthConfig(), signal));
