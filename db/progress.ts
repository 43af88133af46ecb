/** One line that fills up on a terminal, and one line per step elsewhere. */
export function createProgress(label: string, total: number) {
  let done = 0;
  const isTerminal = process.stdout.isTTY === true;
  const show = (detail: string) => {
    const filled = total === 0 ? 20 : Math.round((20 * Math.min(done, total)) / total);
    const line = `${label.padEnd(16)} [${"#".repeat(filled)}${".".repeat(20 - filled)}] ${done}/${total} ${detail}`;
    process.stdout.write(`\r\x1b[K${line.slice(0, (process.stdout.columns || 100) - 1)}`);
  };
  return {
    step(detail: string): void {
      done += 1;
      if (isTerminal) show(detail);
    },
    finish(detail: string): void {
      if (isTerminal) process.stdout.write("\r\x1b[K");
      console.log(`${label.padEnd(16)} ${detail}`);
    },
  };
}
