import { writeFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { z } from "zod";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { readJson } from "./home.ts";

const schema = z.object({ pid: z.int() });

it("names a file that is damaged, and none of what is in it", async () => {
  await using folder = createTempFolder();
  const path = `${folder.path}/secrets.json`;
  for (const content of ["", '{"pid": "hunter2', '{"pid": "hunter2"}', "[]"]) {
    await writeFile(path, content);
    const refused = await readJson(path, schema).catch((error: unknown) => String(error));
    expect(refused).toBe(
      `Error: ${path} is damaged: restore it, or remove it (the data of a home folder are lost without its secrets.json)`,
    );
  }
});
