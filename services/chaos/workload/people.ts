import { isAtWork, type UserRecord } from "../history.ts";
import { hexOf, pick } from "../random.ts";
import { ask, askUntilClear, pause } from "./ask.ts";
import { tighten } from "./limits.ts";
import type { LoadContext } from "./load-context.ts";
import { changePassword, endSessions, newPassword, noteDead } from "./sessions.ts";

/** Below the ten that are free: the user is to get in at the end. */
const MOST_MISTAKES = 4;
/** Within the 20 s in which a lost answer is given again: each takes 4 s at most. */
const REFRESH_TRIES = 3;
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
  const { clients, history, random, signal } = context;
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
  if (random() < 0.15) {
    user.deactivation = "unknown";
    const deactivate = { userId: user.userId ?? "", isActive: false, reason: "chaos" };
    const patience = { tries: 4, pauseMs: 300, signal };
    const call = () => clients.userAdmin.setUserActive(deactivate);
    user.deactivation = (await askUntilClear(history, "SetUserActive", call, patience)).answer;
    if (user.deactivation === "acknowledged") noteDead(history, user, "the user was deactivated", user.tokens);
  }
}

async function signIn({ clients, history, signal }: LoadContext, user: UserRecord): Promise<void> {
  if (user.passwords.length > 1) return; // nobody knows which one is right
  const password = user.passwords[0] ?? "";
  const { username } = user;
  const outcome = await ask(history, "Login", () => clients.auth.login({ username, password }));
  if (outcome.answer === "refused" && user.deactivation === undefined) {
    history.sessionComplaints.push(`${username} was refused with the right password: ${outcome.refusal.reason}`);
  }
  if (outcome.answer !== "acknowledged") return;
  // An answer that was lost is asked for again with the same token, which is no theft; then the new one has to work.
  let refreshToken = outcome.value.tokens?.refreshToken ?? "";
  for (const which of ["new", "refreshed"]) {
    const call = () => clients.auth.refreshSession({ refreshToken });
    const patience = { tries: REFRESH_TRIES, pauseMs: 300, signal };
    const refreshed = await askUntilClear(history, "RefreshSession", call, patience);
    if (refreshed.answer === "refused" && user.deactivation === undefined) {
      history.sessionComplaints.push(`${username} could not refresh a ${which} session: ${refreshed.refusal.reason}`);
    }
    if (refreshed.answer !== "acknowledged") return;
    refreshToken = refreshed.value.tokens?.refreshToken ?? "";
  }
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
