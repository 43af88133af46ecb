import { z } from "zod";
import type { Random } from "#platform/testing/random.ts";
import type { Answer, History, TokenPair, UserRecord } from "../history.ts";
import { hexOf, pick } from "../random.ts";
import { ask, askUntilClear } from "./ask.ts";
import type { LoadContext } from "./load-context.ts";

/** Within the 20 s in which a lost answer is given again: each takes 4 s at most. */
const REFRESH_TRIES = 3;
const REPLAYED_MS = 15_000;

export const newPassword = (random: Random) => hexOf(random, 18);

/** Signs in and goes on with the session twice, asking each time once more for an answer as if it had been lost. */
export async function signIn({ clients, history, signal }: LoadContext, user: UserRecord): Promise<void> {
  if (user.passwords.length > 1) return; // nobody knows which one is right
  const password = user.passwords[0] ?? "";
  const { username } = user;
  const outcome = await ask(history, "Login", () => clients.auth.login({ username, password }));
  if (outcome.answer === "refused") {
    history.sessionComplaints.push(`${username} was refused with the right password: ${outcome.refusal.reason}`);
  }
  if (outcome.answer !== "acknowledged") return;
  // An answer that was lost is asked for again with the same token, which is no theft; then the new one has to work.
  let refreshToken = outcome.value.tokens?.refreshToken ?? "";
  for (const which of ["new", "refreshed"]) {
    const startedAt = performance.now();
    const call = () => clients.auth.refreshSession({ refreshToken });
    const patience = { tries: REFRESH_TRIES, pauseMs: 300, signal };
    const refreshed = await askUntilClear(history, "RefreshSession", call, patience);
    if (refreshed.answer === "refused") {
      history.sessionComplaints.push(`${username} could not refresh a ${which} session: ${refreshed.refusal.reason}`);
    }
    if (refreshed.answer !== "acknowledged") return;
    const next = refreshed.value.tokens?.refreshToken ?? "";
    const repeated = await ask(history, "RefreshSession", call);
    const isSame = repeated.answer === "acknowledged" && repeated.value.tokens?.refreshToken === next;
    if (!isSame && repeated.answer !== "unknown" && performance.now() - startedAt < REPLAYED_MS) {
      history.sessionComplaints.push(
        `${username} asked again for the tokens of a ${which} session and got others, or none`,
      );
    }
    // What is unknown may be heard late, and would be a theft then.
    if (!isSame) return;
    refreshToken = next;
  }
}

/** A user with two sessions ends one of them, or all; whatever was ended must be of no use from then on. */
export async function endSessions(context: LoadContext, user: UserRecord): Promise<void> {
  const { clients, history, random, signal } = context;
  const [own, other] = [await openSession(context, user), await openSession(context, user)];
  if (own === undefined || other === undefined) return;
  const client = clients.authAs(async () => own.accessToken);
  const sessionId = sessionIdOf(other);
  const way = pick(random, [
    { rpc: "Logout", call: () => client.logout({}), ended: [own], left: other },
    { rpc: "RevokeSession", call: () => client.revokeSession({ sessionId }), ended: [other], left: own },
    { rpc: "RevokeAllSessions", call: () => client.revokeAllSessions({}), ended: [own, other], left: undefined },
  ] as const);
  const patience = { tries: 4, pauseMs: 300, signal };
  const { answer } = await askUntilClear<unknown>(history, way.rpc, way.call, patience);
  await noteEnd(context, user, { why: way.rpc, answer, ended: way.ended, left: way.left });
}

export async function changePassword(context: LoadContext, user: UserRecord): Promise<void> {
  const { clients, history, random } = context;
  const [currentPassword] = user.passwords;
  if (currentPassword === undefined) return;
  const [own, other] = [await openSession(context, user), await openSession(context, user)];
  if (own === undefined || other === undefined) return;
  const password = newPassword(random);
  const client = clients.authAs(async () => own.accessToken);
  user.passwords = [currentPassword, password];
  const call = () => client.changePassword({ currentPassword, newPassword: password });
  const { answer } = await ask(history, "ChangePassword", call);
  if (answer === "acknowledged") user.passwords = [password];
  if (answer === "refused") user.passwords = [currentPassword];
  await noteEnd(context, user, { why: "ChangePassword", answer, ended: [other], left: own });
}

export function noteDead(history: History, user: UserRecord, why: string, tokens: TokenPair | undefined): void {
  const { userId = "" } = user;
  if (tokens === undefined) return;
  const { accessToken, refreshToken } = tokens;
  history.deadTokens.push({ userId, why, accessToken, refreshToken });
}

interface End {
  readonly why: string;
  readonly answer: Answer;
  readonly ended: readonly TokenPair[];
  readonly left: TokenPair | undefined;
}

/** At once for refresh tokens; access tokens are known to be dead by those whom the event has reached, so in the end. */
async function noteEnd(
  { clients, history, signal }: LoadContext,
  user: UserRecord,
  { why, answer, ended, left }: End,
): Promise<void> {
  const { userId = "", username } = user;
  history.revocations.push({ userId, answer });
  if (answer !== "acknowledged") return;
  for (const tokens of ended) {
    noteDead(history, user, why, tokens);
    const { refreshToken } = tokens;
    const refreshed = await ask(history, "RefreshSession", () => clients.auth.refreshSession({ refreshToken }));
    if (refreshed.answer === "acknowledged")
      history.sessionComplaints.push(`${username} refreshed a session after ${why}`);
  }
  if (left === undefined) return;
  const { refreshToken } = left;
  const call = () => clients.auth.refreshSession({ refreshToken });
  const outcome = await askUntilClear(history, "RefreshSession", call, { tries: 3, pauseMs: 300, signal });
  if (outcome.answer === "refused")
    history.sessionComplaints.push(`${username}: ${why} ended a session that it was not for`);
}

async function openSession({ clients, history }: LoadContext, user: UserRecord): Promise<TokenPair | undefined> {
  const [password, ...others] = user.passwords;
  if (password === undefined || others.length > 0) return undefined; // nobody knows which one is right
  const { username } = user;
  const outcome = await ask(history, "Login", () => clients.auth.login({ username, password }));
  return outcome.answer === "acknowledged" ? outcome.value.tokens : undefined;
}

const claims = z.object({ sid: z.string() });

function sessionIdOf({ accessToken }: TokenPair): string {
  return claims.parse(JSON.parse(Buffer.from(accessToken.split(".")[1] ?? "", "base64url").toString())).sid;
}
