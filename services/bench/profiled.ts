import { writeFile } from "node:fs/promises";
import { Session } from "node:inspector/promises";
import { join } from "node:path";

const folder = process.env.BENCH_PROFILES;

/**
 * Under `--profile`, a processor profile of this piece of work alone, without what prepares it. `operations` is what it
 * is divided by: the runner prints microseconds for each.
 */
export async function profiled<T>(name: string, operations: number, work: () => Promise<T>): Promise<T> {
  if (folder === undefined) return work();
  using stack = new DisposableStack();
  const session = stack.adopt(new Session(), (one) => one.disconnect());
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.start");
  const result = await work();
  const { profile } = await session.post("Profiler.stop");
  await writeFile(join(folder, `${name}.cpuprofile`), JSON.stringify({ ...profile, operations }));
  return result;
}
