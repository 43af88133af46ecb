import { type DeadTokens, isGivenBack } from "../history.ts";
import { inParallel } from "../in-parallel.ts";
import { askUntilClear } from "./ask.ts";
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
  await inParallel(8, history.deadTokens, (tokens) => tryDead(context, tokens, patience));
}

async function tryDead(
  { clients, history }: Context,
  { userId, why, accessToken, refreshToken }: DeadTokens,
  patience: Parameters<typeof askUntilClear>[3],
): Promise<void> {
  const token = async () => accessToken;
  const ways = [
    ["RefreshSession", () => clients.auth.refreshSession({ refreshToken })],
    ["GetCurrentUser", () => clients.authAs(token).getCurrentUser({})],
    ["GetQuota", () => clients.quotasAs(token).getQuota({ userId })],
  ] as const;
  for (const [rpc, call] of ways) {
    // A token that is refused is as clear as an answer gets, though it may be refused for something that passes.
    const once = { ...patience, tries: 1 };
    const outcome = await askUntilClear<unknown>(history, rpc, call, once);
    if (outcome.answer === "acknowledged")
      history.sessionComplaints.push(`user ${userId}: ${rpc} with a token that was dead: ${why}`);
  }
}
