/** Prints rows under their column names; numbers stand to the right. */
export function printTable(rows: readonly Record<string, unknown>[]): void {
  const [first] = rows;
  if (first === undefined) {
    console.log("  (nothing)");
    return;
  }
  const columns = Object.keys(first).map((name) => {
    const cells = rows.map((row) => String(row[name] ?? ""));
    const width = Math.max(name.length, ...cells.map((cell) => cell.length));
    const isNumeric = rows.every((row) => row[name] === null || /^(number|bigint)$/.test(typeof row[name]));
    return { name, cells, width, isNumeric };
  });
  const line = (texts: readonly string[]) =>
    columns
      .map(({ width, isNumeric }, index) => (isNumeric ? texts[index]?.padStart(width) : texts[index]?.padEnd(width)))
      .join("  ")
      .trimEnd();
  console.log(`  ${line(columns.map(({ name }) => name))}`);
  for (const index of rows.keys()) console.log(`  ${line(columns.map(({ cells }) => cells[index] ?? ""))}`);
}
