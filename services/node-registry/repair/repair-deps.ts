import type { Deps } from "../deps.ts";
import type { Placer } from "../placement/placer.ts";
import type { RepairConfig } from "./repair-config.ts";

export interface RepairDeps extends Pick<Deps, "pool" | "outbox" | "clock" | "random" | "log" | "metrics" | "view"> {
  readonly config: RepairConfig;
  readonly placer: Placer;
}
