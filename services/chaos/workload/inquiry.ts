import { type DeadTokens, isGivenBack } from "../history.ts";
import { inParallel } from "../in-parallel.ts";
import { ask, askUntilClear, pause } from "./ask.ts";
import type { LoadContext } from "./load-context.ts";

type Context = Pick<LoadContext, "clients" | "history">;

const CHUNKS_PER_CALL = 500;
const INQUIRY_MS = 120_000;

/** What a system at rest is asked in the end: where chunks are, and whether dead tokens are of any use. */
export async function inquire(context: Context): Promise<void> {
  const { clients, history } = context;
  const patience = { tries: 20, pauseMs: 500, signal: AbortSignal.timeout(INQUIRY_MS) };
  const kept = history.uploads.filter((upload) => upload.isReported && !isGivenBack(upload));
  const hashes = kept.flatMap(({ chunks }) => chunks.map(({ chunkHash }) => chunkHash));
  for (let from = 0; from < hashes.length; from += CHUNKS_PER_CALL) {
    const chunkHashes = hashes.slice(from, from + CHUNKS_PER_CALL);
    const call = () => clients.chunks.locateChunks({ chunkHashes });
    const outcome = await askUntilClear(history, "LocateChunks", call, patience);
    if (outcome.answer !== "acknowledged") continue; // chunks of which nothing is known are the verdict's business
    for (const { chunkHash, nodes } of outcome.value.chunks) {
      history.located.set(
        chunkHash,
        nodes.map(({ nodeId }) => nodeId),
      );
    }
  }
  await inParallel(8, history.deadTokens, (tokens) => tryDead(context, tokens, patience.signal));
}

/** Who missed the event that a token is dead looks for it again every 15 s. */
const HEARD_WITHIN_MS = 45_000;

async function tryDead({ clients, history }: Context, dead: DeadTokens, signal: AbortSignal): Promise<void> {
  const { userId, why, accessToken, refreshToken } = dead;
  const token = async () => accessToken;
  const ways = [
    { rpc: "RefreshSession", withinMs: 0, call: () => clients.auth.refreshSession({ refreshToken }) },
    { rpc: "GetCurrentUser", withinMs: HEARD_WITHIN_MS, call: () => clients.authAs(token).getCurrentUser({}) },
    { rpc: "GetQuota", withinMs: HEARD_WITHIN_MS, call: () => clients.quotasAs(token).getQuota({ userId }) },
  ];
  for (const { rpc, withinMs, call } of ways) {
    const endsAt = performance.now() + withinMs;
    let outcome = await ask<unknown>(history, rpc, call);
    while (outcome.answer === "acknowledged" && performance.now() < endsAt && !signal.aborted) {
      await pause(500, signal);
      outcome = await ask<unknown>(history, rpc, call);
    }
    if (outcome.answer === "acknowledged")
      history.sessionComplaints.push(`user ${userId}: ${rpc} with a token that was dead: ${why}`);
  }
}
