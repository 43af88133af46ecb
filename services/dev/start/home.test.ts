import { writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, it } from "vitest";
import { z } from "zod";
import { homeOfCommand } from "#platform/config/command-environment.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { homeFolder, readJson } from "./home.ts";

const schema = z.object({ pid: z.int() });

it("names a file that is damaged, and none of what is in it", async () => {
  await using folder = createTempFolder();
  const file = `${folder.path}/secrets.json`;
  for (const content of ["", '{"pid": "hunter2', '{"pid": "hunter2"}', "[]"]) {
    await writeFile(file, content);
    const refused = await readJson(file, schema).catch((error: unknown) => String(error));
    expect(refused).toBe(
      `Error: ${file} is damaged: restore it, or remove it (the data of a home folder are lost without its secrets.json)`,
    );
  }
});

it("is where the commands look for it, also where the variable is set and empty", () => {
  const usual = path.join(import.meta.dirname, "../../../.decentrastore");
  for (const env of [{}, { DECENTRASTORE_HOME: "" }]) {
    expect(homeFolder(env)).toBe(usual);
    expect(path.resolve(homeOfCommand(env))).toBe(usual);
  }
  expect(homeFolder({ DECENTRASTORE_HOME: "elsewhere" })).toBe(path.resolve("elsewhere"));
});
