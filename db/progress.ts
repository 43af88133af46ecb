/** One line that fills up on a terminal; elsewhere only what is said and the end. */
export function createProgress(label: string, total: number) {
  let done = 0;
  let detail = "";
  const isTerminal = process.stdout.isTTY === true;
  const show = () => {
    const filled = total === 0 ? 20 : Math.round((20 * Math.min(done, total)) / total);
    const line = `${label.padEnd(16)} [${"#".repeat(filled)}${".".repeat(20 - filled)}] ${done}/${total} ${detail}`;
    process.stdout.write(`\r\x1b[K${line.slice(0, (process.stdout.columns || 100) - 1)}`);
  };
  return {
    step(text: string, count = 1): void {
      done += count;
      detail = text;
      if (isTerminal) show();
    },
    /** A line above the bar. */
    say(line: string): void {
      if (isTerminal) process.stdout.write("\r\x1b[K");
      console.log(line);
      if (isTerminal) show();
    },
    finish(text: string): void {
      if (isTerminal) process.stdout.write("\r\x1b[K");
      console.log(`${label.padEnd(16)} ${text}`);
    },
  };
}
