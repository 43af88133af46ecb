import { readdir, stat } from "node:fs/promises";
import { collectDefaultMetrics, Gauge, type Registry } from "prom-client";

// Each lists every connection by name: with ten thousand of them a scrape would hold everybody up for 15 ms.
const LISTS = ["active_handles", "active_handles_total", "active_resources", "active_resources_total"];
const OPEN_FDS = "process_open_fds";
const FD_FOLDER = "/proc/self/fd";

/** Event loop delay, garbage collection, memory, processor time and open files of this process, under Prometheus' names. */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
  for (const list of LISTS) registry.removeSingleMetric(`nodejs_${list}`);
  if (registry.getSingleMetric(OPEN_FDS) === undefined) return; // there is no /proc
  // That of prom-client reads the folder in the event loop: 10 ms with ten thousand connections.
  registry.removeSingleMetric(OPEN_FDS);
  const gauge: Gauge = new Gauge({
    name: OPEN_FDS,
    help: "Number of open file descriptors.",
    registers: [registry],
    collect: async () => gauge.set(await countOpenFiles()),
  });
}

async function countOpenFiles(): Promise<number> {
  // Linux tells their number as the size of the folder since 6.2.
  const { size } = await stat(FD_FOLDER);
  // One is open for reading the folder.
  return size > 0 ? size : (await readdir(FD_FOLDER)).length - 1;
}
