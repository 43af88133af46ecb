import { isFree } from "../../dev/start/ports.ts";

/**
 * A free port that no outgoing connection takes: systems give those out from 32768 on, and a run like this makes
 * thousands, one of which would sit on the port of a server that is just being started again.
 */
export async function quietPort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (await isFree(port)) return port;
  }
}
