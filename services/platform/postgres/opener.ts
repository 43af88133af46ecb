import pg from "pg";
import { ConnectionError } from "slonik";
import { isDatabaseDown } from "./errors.ts";

interface Outage {
  readonly since: number;
  lastError: unknown;
  /** The one try that is under way; true when the server is back. */
  attempt: Promise<boolean> | undefined;
}

/**
 * Opens the connections of one pool. A server that has only just gone away is given `patienceMs` to come back: one
 * caller tries and the others wait for it, so that a server in recovery is not hit by all of them at once. When it
 * stays away, whoever comes while a try is under way fails at once, so that an address that does not even refuse does
 * not keep every caller for the connect timeout.
 */
export function createOpener(config: pg.ClientConfig, patienceMs: number): () => Promise<pg.Client> {
  let outage: Outage | undefined;
  let hasOpened = false;

  const isLong = ({ since }: Outage) => performance.now() - since >= patienceMs;

  async function tryAgain(current: Outage): Promise<boolean> {
    try {
      if (!isLong(current)) await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100));
      const client = await openOne(config);
      client.end().catch(() => {});
      outage = undefined;
      return true;
    } catch (error) {
      current.lastError = error;
      // Something else is wrong now: the callers' own tries will tell them.
      if (!isDatabaseDown(error)) outage = undefined;
      return outage === undefined;
    } finally {
      current.attempt = undefined;
    }
  }

  return async () => {
    while (true) {
      const current = outage;
      if (current === undefined) {
        try {
          const client = await openOne(config);
          hasOpened = true;
          return client;
        } catch (error) {
          if (!isDatabaseDown(error)) throw hasOpened ? refused(error) : error;
          outage ??= { since: performance.now(), lastError: error, attempt: undefined };
          continue;
        }
      }
      if (isLong(current) && current.attempt !== undefined) throw current.lastError;
      current.attempt ??= tryAgain(current);
      if (!(await current.attempt) && isLong(current)) throw current.lastError;
    }
  };
}

/**
 * A login that was good and is no more: its password or a right was changed. No call can help it and an operator will, so
 * it counts as a database that is away: calls are answered UNAVAILABLE, and no event is given up for it.
 */
function refused(cause: unknown): ConnectionError {
  return new ConnectionError("the database refuses a new connection", cause instanceof Error ? { cause } : {});
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
