import { type History, isAtWork, type UserRecord } from "../history.ts";
import { between, pick } from "../random.ts";
import { askUntilClear, pause } from "./ask.ts";
import type { LoadContext } from "./load-context.ts";

const TIGHT_QUOTA_BYTES = 240n * 1024n;
const LOWERED_QUOTA_BYTES = 60n * 1024n;

type Context = Pick<LoadContext, "clients" | "history">;
type Patience = Parameters<typeof askUntilClear>[3];

/** A limit that a few uploads reach. It is only ever lower than this for a while, so it holds for all of them. */
export async function tighten({ clients, history, signal }: LoadContext, user: UserRecord): Promise<boolean> {
  const patience = { tries: 4, pauseMs: 300, signal };
  const isSet = await setLimit({ clients, history }, user, TIGHT_QUOTA_BYTES, patience);
  if (isSet) user.quotaBytes = TIGHT_QUOTA_BYTES;
  return isSet;
}

/** An admin who moves limits. */
export async function runLimits(context: LoadContext): Promise<void> {
  const { history, random, signal } = context;
  while (!signal.aborted) {
    await pause(between(random, 200, 800), signal);
    const users = tightUsers(history);
    if (users.length > 0) await moveLimit(context, pick(random, users));
  }
}

export function tightUsers({ users }: Pick<History, "users">): UserRecord[] {
  return users.filter((user) => isAtWork(user) && user.quotaBytes !== undefined);
}

/** Lowers a tight limit, often below the use, and puts it back: thresholds are crossed, and armed again. */
export async function moveLimit(context: LoadContext, user: UserRecord): Promise<void> {
  const { random, signal } = context;
  const patience = { tries: 4, pauseMs: 300, signal };
  user.isLimitMoving = true;
  await setLimit(context, user, LOWERED_QUOTA_BYTES, patience);
  await pause(between(random, 100, 400), signal);
  await setLimit(context, user, TIGHT_QUOTA_BYTES, patience);
  // What holds already changes nothing more.
  await setLimit(context, user, TIGHT_QUOTA_BYTES, patience);
}

/** Once no older call can be under way any more: whatever became of those, this is the last one. */
export async function restoreLimit(context: Context, user: UserRecord, patience: Patience): Promise<void> {
  await setLimit(context, user, TIGHT_QUOTA_BYTES, patience);
}

async function setLimit(
  { clients, history }: Context,
  user: UserRecord,
  storageQuotaBytes: bigint,
  patience: Patience,
): Promise<boolean> {
  const { userId = "" } = user;
  let tries = 0;
  const call = () => {
    tries += 1;
    return clients.quotaAdmin.setQuota({ userId, storageQuotaBytes, reason: "chaos" });
  };
  const { answer } = await askUntilClear(history, "SetQuota", call, patience);
  history.limits.push({ userId, bytes: storageQuotaBytes, answer, tries });
  return answer === "acknowledged";
}
