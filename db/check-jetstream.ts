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
    await using nats = await connectNats({ url, name: "db:check", log: createLogger("db:check", "silent"), signal });
    const { streams, storage } = await (await nats.connection.jetstreamManager({ checkAPI: false })).getAccountInfo();
    return [{ state: "ok", text: `JetStream at ${host} answers: ${streams} streams, ${storage} bytes` }];
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const cure = "is nats-server running with -js at the host of NATS_URL, and may this user ask $JS.API.INFO?";
    return [{ state: "failure", text: `JetStream at ${host} does not answer: ${why || "no connection in 5 s"}`, cure }];
  }
}
