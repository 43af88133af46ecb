import { createServer } from "node:net";
import { threadId } from "node:worker_threads";

// Systems give outgoing connections ports from 32768 (Linux) or 49152 on: one of those could sit on the port of a
// server that is just being started.
const lowest = 10_000;
const beyond = 32_768;

/** Processes and threads that look at the same time begin at places far apart, so that they do not find the same. */
let next = lowest + ((process.pid * 14_071 + threadId * 8_693) % (beyond - lowest));

/** A TCP port on loopback that nobody listens on now and that was not handed out by this process before. */
export async function freePort(): Promise<number> {
  for (let tried = lowest; tried < beyond; tried += 1) {
    const port = next;
    next = port + 1 < beyond ? port + 1 : lowest;
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${lowest} to ${beyond - 1} is free`);
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
