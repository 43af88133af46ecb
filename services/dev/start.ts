import { runControlPlane } from "./start/control-plane.ts";
import { messageOf } from "./start/supervise.ts";

// `npm start`: PostgreSQL, NATS, migrations and the three services, from nothing, until Ctrl-C.

const stop = new AbortController();
const patienceMs = 1_000;
let lastRequestMs = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // One Ctrl-C may arrive several times: from the terminal and, passed on, from npm.
    const isRepeated = stop.signal.aborted && performance.now() - lastRequestMs > patienceMs;
    lastRequestMs = performance.now();
    if (isRepeated) process.exit(1); // the children stop by their life lines
    stop.abort();
  });
}

try {
  await runControlPlane(process.env, stop.signal);
} catch (error) {
  if (!stop.signal.aborted) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
