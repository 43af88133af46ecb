import type { Gate } from "#platform/postgres/gate.ts";
import type { Deps } from "../deps.ts";
import type { Authorities } from "./authorities.worker.ts";

export interface EnrollmentDeps extends Deps {
  readonly authorities: Authorities;
  /** Admits changes of the directory (`createDirectoryWrites`). */
  readonly writes: Gate;
}
