import type { Deps } from "../deps.ts";
import type { Authorities } from "./authorities.ts";

export interface EnrollmentDeps extends Deps {
  readonly authorities: Authorities;
}
