import { runControlPlane } from "./start/control-plane.ts";
import { messageOf } from "./start/supervise.ts";

// `npm start`: PostgreSQL, NATS, migrations and the three services, from nothing, until Ctrl-C.

const stop = new AbortController();
let asked = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    asked += 1;
    if (asked > 2) process.exit(1); // the third request is impatience: the children stop by their life lines
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
