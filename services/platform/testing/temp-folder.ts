import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** `await using folder = createTempFolder()`: removed at the end of the block. */
export function createTempFolder(): AsyncDisposable & { readonly path: string } {
  const folder = mkdtempSync(path.join(tmpdir(), "decentrastore-test-"));
  return {
    path: folder,
    [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }),
  };
}
