import { readFile } from "node:fs/promises";

// A promise counts only while the test that attacks it exists: every file and title that GUARANTEES.md names must be there.

const page = await readFile("GUARANTEES.md", "utf8");
const problems: string[] = [];
let named = 0;
for (const [index, line] of page.split("\n").entries()) {
  const [, file, title] = /^- `(.+\.test\.ts)`: "(.+)"$/.exec(line) ?? [];
  if (file === undefined || title === undefined) {
    if (line.startsWith("- ")) problems.push(`line ${index + 1} is not of the form: - \`file\`: "title"`);
    continue;
  }
  named += 1;
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => error);
  if (text instanceof Error) problems.push(`${file}: ${text.code}`);
  // The title may go on with what differs from run to run.
  else if (!['"', "`"].some((quote) => text.includes(`${quote}${title}`)))
    problems.push(`${file} has no test "${title}"`);
}
for (const problem of problems) console.error(problem);
console.log(`${named} tests named`);
if (problems.length > 0) process.exitCode = 1;
