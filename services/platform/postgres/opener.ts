import pg from "pg";
import { isDatabaseDown } from "./errors.ts";

/**
 * Opens the connections of one pool. A server that has only just gone away is given `patienceMs` to come back. When it
 * stays away, one caller at a time tries and the others fail at once with its error, so that an address that does not
 * even refuse does not keep every caller for the connect timeout.
 */
export function createOpener(config: pg.ClientConfig, patienceMs: number): () => Promise<pg.Client> {
  let outage: { readonly since: number; lastError: unknown; isBeingTried: boolean } | undefined;
  return async () => {
    while (true) {
      const isLong = outage !== undefined && performance.now() - outage.since >= patienceMs;
      if (outage !== undefined && isLong && outage.isBeingTried) throw outage.lastError;
      if (outage !== undefined && isLong) outage.isBeingTried = true;
      try {
        const client = await openOne(config);
        outage = undefined;
        return client;
      } catch (error) {
        if (outage !== undefined) outage.isBeingTried = false;
        if (!isDatabaseDown(error)) throw error;
        outage ??= { since: performance.now(), lastError: error, isBeingTried: false };
        outage.lastError = error;
        if (performance.now() - outage.since >= patienceMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100));
      }
    }
  };
}

async function openOne(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(config);
  // Without a listener, an error between failing and being discarded would end the process.
  client.on("error", () => {});
  let dateStyle = "ISO";
  client.connection.on("parameterStatus", (status: { parameterName: string; parameterValue: string }) => {
    if (status.parameterName === "DateStyle") dateStyle = status.parameterValue;
  });
  try {
    await client.connect();
    // The type parsers read ISO dates; a server or role may be configured otherwise.
    if (!dateStyle.startsWith("ISO")) await client.query("set datestyle = 'ISO'");
    return client;
  } catch (error) {
    client.end().catch(() => {});
    throw error;
  }
}
