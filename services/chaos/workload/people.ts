import { isAtWork, type UserRecord } from "../history.ts";
import { hexOf, pick } from "../random.ts";
import { ask, askUntilClear, pause } from "./ask.ts";
import { tighten } from "./limits.ts";
import type { LoadContext } from "./load-context.ts";
import { changePassword, endSessions, newPassword, noteDead, signIn } from "./sessions.ts";

/** Below the ten that are free: the user is to get in at the end. */
const MOST_MISTAKES = 4;
const acts = [signIn, mistype, mistypeName, changePassword, lookAtQuota, endSessions, endSessions, endSessions];

/** Users: they register, sign in, change passwords, mistype them, and look at their quota. */
export async function runPeople(context: LoadContext, actor: number): Promise<void> {
  const { random, signal, history } = context;
  for (let round = 0; !signal.aborted; round += 1) {
    // The first users at once: the gateways have nothing to do without them.
    if (round < 4 || random() < 0.25) await register(context, actor);
    else {
      const own = history.users.filter((user) => user.actor === actor);
      const user = pick(random, own);
      const act = random() < 0.04 ? deleteUser : pick(random, acts);
      if (isAtWork(user)) await act(context, user);
    }
    await pause(round < 4 ? 50 : 250 + 350 * random(), signal);
  }
}

async function register(context: LoadContext, actor: number): Promise<void> {
  const { clients, history, random } = context;
  const user: UserRecord = {
    username: `chaos-${hexOf(random, 6)}`,
    actor,
    userId: undefined,
    registered: "unknown",
    passwords: [newPassword(random)],
    quotaBytes: undefined,
    deactivation: undefined,
    deletion: undefined,
    mistakes: 0,
    tokens: undefined,
    isLimitMoving: false,
  };
  history.users.push(user);
  const request = { username: user.username, password: user.passwords[0] ?? "" };
  const outcome = await ask(history, "Register", () => clients.auth.register(request));
  if (outcome.answer !== "acknowledged") {
    user.registered = outcome.answer;
    return;
  }
  const { user: registered, tokens } = outcome.value;
  user.userId = registered?.userId;
  user.tokens = tokens;
  const own = clients.quotasAs(async () => tokens?.accessToken);
  await ask(history, "GetQuota", () => own.getQuota({ userId: user.userId ?? "" }));
  // Only now gateways see the user: an upload before the change of the limit might rightly lie above it. Where the change
  // is unknown it may come late, so such a user uploads nothing.
  if (random() < 0.5 && !(await tighten(context, user))) return;
  user.registered = "acknowledged";
  if (random() < 0.15) await deactivate(context, user);
}

export async function deactivate({ clients, history, signal }: LoadContext, user: UserRecord): Promise<void> {
  user.deactivation = "unknown";
  const request = { userId: user.userId ?? "", isActive: false, reason: "chaos" };
  const patience = { tries: 4, pauseMs: 300, signal };
  const call = () => clients.userAdmin.setUserActive(request);
  user.deactivation = (await askUntilClear(history, "SetUserActive", call, patience)).answer;
  if (user.deactivation === "acknowledged") noteDead(history, user, "the user was deactivated", user.tokens);
}

/** The user's uploads go, wherever they are at that moment. */
export async function deleteUser(
  { clients, history, signal }: Pick<LoadContext, "clients" | "history" | "signal">,
  user: UserRecord,
): Promise<void> {
  const request = { userId: user.userId ?? "", reason: "chaos" };
  user.deletion = "unknown";
  const patience = { tries: 4, pauseMs: 300, signal };
  const outcome = await askUntilClear(history, "DeleteUser", () => clients.userAdmin.deleteUser(request), patience);
  // A user who is not there was deleted by the call whose answer was lost.
  const isGone = outcome.answer === "refused" && outcome.refusal.reason === "USER_NOT_FOUND";
  user.deletion = isGone ? "acknowledged" : outcome.answer;
  if (user.deletion === "acknowledged") noteDead(history, user, "the user was deleted", user.tokens);
}

async function mistype({ clients, history, random }: LoadContext, user: UserRecord): Promise<void> {
  if (user.mistakes >= MOST_MISTAKES) return;
  user.mistakes += 1;
  const { username } = user;
  const call = () => clients.auth.login({ username, password: newPassword(random) });
  const outcome = await ask(history, "Login wrong password", call);
  if (outcome.answer === "unknown") return;
  const answer = outcome.answer === "refused" ? alike(outcome.refusal) : undefined;
  history.failedLogins.push({ kind: "wrong password", answer });
}

async function mistypeName({ clients, history, random }: LoadContext): Promise<void> {
  const username = `nobody-${hexOf(random, 6)}`;
  const call = () => clients.auth.login({ username, password: newPassword(random) });
  const outcome = await ask(history, "Login unknown name", call);
  if (outcome.answer === "unknown") return;
  const answer = outcome.answer === "refused" ? alike(outcome.refusal) : undefined;
  history.failedLogins.push({ kind: "unknown name", answer });
}

function alike({ code, reason, message }: { code: string; reason: string; message: string }): string {
  return `${code} ${reason} ${message}`;
}

async function lookAtQuota({ clients, history }: LoadContext, user: UserRecord): Promise<void> {
  const call = () => clients.quotas.getQuota({ userId: user.userId ?? "" });
  const outcome = await ask(history, "GetQuota", call);
  if (outcome.answer !== "acknowledged") return;
  const quota = outcome.value.quota;
  if (quota === undefined || user.isLimitMoving) return;
  if (quota.storageUsedBytes + quota.storageReservedBytes > quota.storageQuotaBytes) {
    const { storageUsedBytes: used, storageReservedBytes: reserved, storageQuotaBytes: limit } = quota;
    history.quotaComplaints.push(`${user.userId} was shown ${used} used and ${reserved} reserved of ${limit}`);
  }
}
