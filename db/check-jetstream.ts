import { createLogger } from "#platform/log/logger.ts";
import { connectNats } from "#platform/nats/connect.ts";
import type { Finding } from "./checks.ts";

/** Whether NATS answers and has JetStream, with whatever user the URL names. */
export async function checkJetStream(url: string | undefined): Promise<readonly Finding[]> {
  if (url === undefined) {
    return [
      { state: "warning", text: "NATS was not checked", cure: "set NATS_URL, or start the local one with npm start" },
    ];
  }
  const host = URL.parse(url)?.host ?? "NATS_URL";
  try {
    const signal = AbortSignal.timeout(5_000);
    // Services read their answers under `_INBOX_<user>`; the subscriber, whom a local network names, under `_INBOX`.
    const inbox = new URL(url).username === "subscriber" ? { inboxPrefix: "_INBOX" } : {};
    const log = createLogger("db:check", "silent");
    await using nats = await connectNats({ url, name: "db:check", log, signal, ...inbox });
    const { streams, storage } = await (await nats.connection.jetstreamManager({ checkAPI: false })).getAccountInfo();
    return [{ state: "ok", text: `JetStream at ${host} answers: ${streams} streams, ${storage} bytes` }];
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const cure = "is nats-server running with -js at the host of NATS_URL, and may this user ask $JS.API.INFO?";
    return [{ state: "failure", text: `JetStream at ${host} does not answer: ${why || "no connection in 5 s"}`, cure }];
  }
}
