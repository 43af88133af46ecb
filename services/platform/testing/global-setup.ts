import type { TestProject } from "vitest/node";

export function setup(_project: TestProject): void {}
