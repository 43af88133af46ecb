/** Draws `label [#####     ] 5/10` on one line of a terminal; in a pipe it prints the last state once. */
export function progressBar(label: string, total: number): { advance(): void; finish(): void } {
  const isTerminal = process.stdout.isTTY === true;
  let done = 0;
  const draw = () => {
    const width = 30;
    const filled = total === 0 ? width : Math.round((done / total) * width);
    return `${label} [${"#".repeat(filled)}${" ".repeat(width - filled)}] ${done}/${total}`;
  };
  return {
    advance: () => {
      done += 1;
      if (isTerminal) process.stdout.write(`\r${draw()}`);
    },
    finish: () => process.stdout.write(isTerminal ? `\r${draw()}\n` : `${draw()}\n`),
  };
}
