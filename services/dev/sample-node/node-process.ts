import { mkdir } from "node:fs/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { NodeService, StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { readDevFile } from "../start/dev-file.ts";
import { serveChunks } from "./chunk-server.ts";
import { openChunkStore, type StoredChunk } from "./chunk-store.ts";
import { createCommandRunner } from "./commands.ts";
import { type Credentials, enroll, keepCredentials, readCredentials } from "./enrollment.ts";
import { keepBeating } from "./heartbeats.ts";
import { createHoldings, drop } from "./holdings.ts";
import { openIdentity, readIfThere, writeWhole } from "./identity.ts";
import { createReporter } from "./reporter.ts";

// One sample storage node, as a process of its own. `main.ts` beside it starts several.

const name = process.env.SAMPLE_NODE_NAME ?? "node-1";
const folder = process.env.SAMPLE_NODE_FOLDER ?? `.decentrastore/nodes/${name}`;
const proofDelayMs = Number(process.env.SAMPLE_NODE_PROOF_DELAY_MS ?? 0);
const capacityGb = Number(process.env.SAMPLE_NODE_CAPACITY_GB ?? 10);
const say = (line: string) => process.stdout.write(`${name}: ${line}\n`);

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
process.on("disconnect", () => stop.abort()); // whoever started this node is gone

await mkdir(folder, { recursive: true, mode: 0o700 });
const network = await readDevFile(process.env);
const identity = await openIdentity(folder);
const store = await openChunkStore(`${folder}/chunks`);
const holdings = createHoldings();

const keptPort = Number((await readIfThere(`${folder}/port`)) ?? 0);
const onStored = (chunk: StoredChunk) => reporter.add(chunk);
const listen = (port: number) => serveChunks({ store, host: "127.0.0.1", port, onStored });
const { server, port } = await listen(keptPort).catch(() => listen(0)); // another program may have taken the kept port
await writeWhole(`${folder}/port`, String(port));
const address = { host: "127.0.0.1", port };

const enrollAnew = async () =>
  await enroll({
    folder,
    identity,
    registryUrl: network.nodeRegistryUrl,
    joinToken: (await readDevFile(process.env)).joinToken, // renewed at each start of the control plane
    address,
    capacityGb,
    region: process.env.SAMPLE_NODE_REGION,
  });
let sessions: Http2SessionManager | undefined;
let client = connect((await readCredentials(folder)) ?? (await enrollAnew()));

const reporter = createReporter({
  report: async (chunks) => {
    const { results } = await client.reportStoredChunks({
      chunkHashes: chunks.map((chunk) => chunk.hash),
      sizesBytes: chunks.map((chunk) => BigInt(chunk.size)),
    });
    return results.map((result, index) => {
      const isKept = result === StoredChunkResult.CONFIRMED || result === StoredChunkResult.ALREADY_CONFIRMED;
      const chunk = chunks[index];
      if (isKept && chunk !== undefined) holdings.confirm(chunk);
      return isKept ? "keep" : "delete";
    });
  },
  remove: (hash) => drop(store, holdings, hash),
  say,
  signal: stop.signal,
});
for (const chunk of await store.list()) reporter.add(chunk); // what an earlier life stored, reported or not

const { withdraw } = reporter;
const context = { store, holdings, onStored, withdraw, renewCertificate, proofDelayMs, say };
const run = createCommandRunner({ client: () => client, ...context });
say(`${identity.nodeId} serves chunks at http://127.0.0.1:${port}`);
await Promise.all([
  reporter.run(),
  keepBeating({
    client: () => client,
    holdings,
    capacityBytes: BigInt(capacityGb) * 2n ** 30n,
    address,
    onCommands: run,
    onConnected: () => say("online"),
    onLost: async (error) => {
      const reason = ConnectError.from(error);
      say(`heartbeats interrupted: ${reason.message}`);
      if (reason.code === Code.Unauthenticated || isCertificateRefused(reason)) await rejoin();
    },
    signal: stop.signal,
  }),
]);
server.close();
server.closeAllConnections();
sessions?.abort();
process.channel?.unref(); // listening for its end would keep this process alive

function connect(credentials: Credentials) {
  sessions?.abort();
  const baseUrl = `https://${network.nodeEdgeAddress}`;
  const tls = { key: identity.privateKeyPem, cert: credentials.certificatePem, ca: credentials.caCertificatePem };
  sessions = new Http2SessionManager(baseUrl, { pingIntervalMs: 20_000 }, tls);
  return createClient(NodeService, createGrpcTransport({ baseUrl, sessionManager: sessions }));
}

async function renewCertificate(): Promise<void> {
  const renewed = await client.renewCertificate({ csrPem: await identity.certificateRequest() });
  const { certificatePem, caCertificatePem } = renewed;
  await keepCredentials(folder, { certificatePem, caCertificatePem });
  client = connect({ certificatePem, caCertificatePem });
  say("certificate renewed");
}

/** The way back after the certificate or the network's CA has changed: the same key joins again. */
async function rejoin(): Promise<void> {
  try {
    client = connect(await enrollAnew());
  } catch (error) {
    say(`enrollment failed: ${ConnectError.from(error).message}`);
  }
}

function isCertificateRefused(error: ConnectError): boolean {
  return /certificate|alert|self.signed/i.test(`${error.message} ${error.cause}`);
}
