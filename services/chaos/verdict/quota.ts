import type { History } from "../history.ts";
import type { Observed } from "../observed.ts";
import { countBy, type Promised } from "./promise.ts";

export const quotaPromise: Promised = {
  number: 2,
  title: "quota is exact: nobody admitted over it, every charge and refund once, ledger = counters = registry",
  evidence: ({ refusals, uploads }, { accounts, ledger }) => {
    const refused = refusals.filter(({ reason }) => reason === "QUOTA_EXCEEDED").length;
    const heirs = uploads.filter(({ heir }) => heir !== undefined).length;
    return `${accounts.length} accounts, ${ledger.length} charges and refunds, ${refused} refusals at the limit, ${heirs} uploads let go of what another one waited for`;
  },
  problems: (history, observed) => [
    ...history.quotaComplaints,
    ...counters(observed),
    ...doubles(observed),
    ...missingCharges(observed),
    ...uncovered(observed),
    ...admittedOver(history),
    ...observed.misposted.map((what) => `what was posted to a reservation is not what was charged: ${what}`),
    ...observed.openReservations.map((what) => `every upload has ended, and the reservation ${what}`),
    ...(observed.adjustments > 0 ? [`the reconciler had to correct ${observed.adjustments} accounts`] : []),
  ],
};

function counters({ accounts, usage, chunks }: Observed): string[] {
  const registry = new Map(usage.map(({ userId, bytes }) => [userId, bytes]));
  const charged = sumBy(
    chunks.filter(({ hasQuorum, isReleased }) => hasQuorum && !isReleased),
    ({ ownerId }) => ownerId,
    ({ sizeBytes }) => sizeBytes,
  );
  return accounts.flatMap(({ userId, used, reserved, limit, ledgerSum }) => {
    const problems: string[] = [];
    const complain = (text: string) => problems.push(`user ${userId}: ${text}`);
    if (ledgerSum !== used) complain(`the ledger's sum is ${ledgerSum}, the counter ${used}`);
    if ((registry.get(userId) ?? 0n) !== used)
      complain(`node-registry counts ${registry.get(userId) ?? 0n}, not ${used}`);
    if ((charged.get(userId) ?? 0n) !== used)
      complain(`chunks at quorum weigh ${charged.get(userId) ?? 0n}, not ${used}`);
    if (reserved !== 0n) complain(`${reserved} bytes are still reserved, though every upload has ended`);
    if (used + reserved > limit) complain(`${used} used and ${reserved} reserved of ${limit}`);
    return problems;
  });
}

/** One charge and at most one refund for each life of a chunk. */
function doubles({ ledger }: Observed): string[] {
  const kinds = (kind: string) => (kind === "late_charge" ? "charge" : kind);
  const counts = countBy(ledger, ({ chunkHash, generation, kind }) => `${kinds(kind)} of ${chunkHash} ${generation}`);
  return [...counts].flatMap(([what, times]) => (times > 1 ? [`${what}: ${times} times`] : []));
}

/** No reservation of a run is old enough to expire, so each covers its chunks until the last of them is charged. */
function uncovered({ ledger }: Observed): string[] {
  const late = ledger.filter(({ kind }) => kind === "late_charge");
  return late.map(({ chunkHash }) => `chunk ${chunkHash} was charged without the reservation that was made for it`);
}

function missingCharges({ ledger, chunks }: Observed): string[] {
  const charged = new Set(ledger.filter(({ kind }) => kind.endsWith("charge")).map(({ chunkHash }) => chunkHash));
  const refunded = new Set(ledger.filter(({ kind }) => kind === "refund").map(({ chunkHash }) => chunkHash));
  return chunks.flatMap(({ chunkHash, hasQuorum, isReleased }) => {
    if (hasQuorum && !charged.has(chunkHash)) return [`chunk ${chunkHash} was never charged`];
    if (hasQuorum && isReleased && !refunded.has(chunkHash)) return [`chunk ${chunkHash} was never refunded`];
    return [];
  });
}

/** By the client's own record alone: what was admitted and never given back fits into the limit. */
function admittedOver({ uploads }: History): string[] {
  const kept = uploads.filter(({ placed, release }) => placed === "acknowledged" && release === undefined);
  // Once, however many uploads share it.
  const chunks = new Map(kept.flatMap(({ user, chunks }) => chunks.map((chunk) => [chunk.chunkHash, { user, chunk }])));
  const bytesOf = sumBy(
    [...chunks.values()],
    ({ user }) => user,
    ({ chunk }) => chunk.sizeBytes,
  );
  return [...bytesOf].flatMap(([{ userId, quotaBytes }, bytes]) =>
    quotaBytes !== undefined && bytes > quotaBytes ? [`user ${userId} was admitted ${bytes} of ${quotaBytes}`] : [],
  );
}

function sumBy<T, K>(items: readonly T[], key: (item: T) => K, bytes: (item: T) => bigint): Map<K, bigint> {
  const sums = new Map<K, bigint>();
  for (const item of items) sums.set(key(item), (sums.get(key(item)) ?? 0n) + bytes(item));
  return sums;
}
