import { createLatch, type Latch } from "#platform/events/latch.ts";
import { failpoint } from "#platform/failpoints/failpoints.ts";
import { createPublisher, type Publisher, type PublishOutcome } from "#platform/nats/publisher.ts";
import { streamOf } from "#platform/nats/streams.ts";
import type { OutboxRow } from "./outbox-event.ts";
import { publicationOf, sourceOf } from "./publication.ts";
import { readBacklog, readUnpublished } from "./relay.store.ts";
import { createRelayMarks, type RelayMarks } from "./relay-marks.ts";
import type { SessionContext } from "./relay-options.ts";
import { createRelayPauses, type RelayPauses } from "./relay-pauses.ts";
import { createSendQueue } from "./send-queue.ts";
import { NotLeadingError, subjectPrefixes } from "./stream-recovery.ts";

/** Rows in memory at most, how many of them without a reading, and how many may be unanswered. */
const MAX_HELD = 4_096;
const MAX_OFFERED = 2_048;
const MAX_IN_FLIGHT = 2_048;
const READ_LIMIT = 2_000;
/**
 * The entries of published rows stay in the index of unpublished ones until a vacuum, and the plan that the planner prefers
 * reads past all of them: 2 ms behind 40,000. A reading in the order of the index marks them, so that others skip them.
 */
const ORDERED_EVERY = 1_000;
/** At 1,000 commits a second a reading for each would find one row; this finds four, for 4 ms at most. */
const READ_SPACING_MS = 4;
const STOP_PATIENCE_MS = 5_000;

/** Publishes until the lease is lost, the process stops (what is in flight is then waited for and marked), or doubt. */
export async function runRelaySession(context: SessionContext): Promise<void> {
  using publisher = createPublisher(context.options);
  const over = AbortSignal.any([context.lease.signal, context.doubt.signal]);
  const latch = createLatch(over);
  await using session = new RelaySession(context, publisher, latch);
  using stack = new DisposableStack();
  stack.defer(context.options.outbox.onWake((committed) => session.wake(committed)));
  await session.run(over);
}

class RelaySession implements AsyncDisposable {
  readonly #context: SessionContext;
  readonly #publisher: Publisher;
  readonly #latch: Latch;
  readonly #queue = createSendQueue<OutboxRow>();
  readonly #pauses: RelayPauses;
  readonly #marks: RelayMarks;
  readonly #unreadyPrefixes: readonly string[];
  readonly #highest = new Map<string, number>();
  #isWoken = true;
  #hasBacklog = false;
  #readSinceOrdered = 0;
  #nextPollAt = 0;
  #readNotBefore = 0;
  #reading: Promise<void> | undefined;

  constructor(context: SessionContext, publisher: Publisher, latch: Latch) {
    this.#context = context;
    this.#publisher = publisher;
    this.#latch = latch;
    this.#unreadyPrefixes = subjectPrefixes(context.unready);
    this.#pauses = createRelayPauses(context.options.log, context.metrics);
    this.#marks = createRelayMarks(context, {
      marked: (ids) => this.#queue.forget(ids),
      change: () => latch.notify(),
    });
  }

  /** Rows that this process has just committed go out without being read, unless something may have to go before them. */
  wake(committed?: readonly OutboxRow[]): void {
    const isTaken = committed !== undefined && this.#takeOver(committed);
    if (!isTaken) this.#isWoken = true;
    this.#latch.notify();
  }

  #takeOver(committed: readonly OutboxRow[]): boolean {
    const isRoom = !this.#hasBacklog && this.#queue.size + committed.length <= MAX_OFFERED;
    if (!isRoom || !this.#context.options.nats.isConnected()) return false;
    let areAll = true;
    for (const row of committed) {
      const isUsable = !this.#unreadyPrefixes.some((prefix) => row.subject.startsWith(prefix));
      if (!(isUsable && this.#pauses.mayGo(row) && this.#queue.offer(row))) areAll = false;
      // A reading in the order of the index is due for them as for those that were read.
      else this.#readSinceOrdered += 1;
    }
    return areAll;
  }

  async run(over: AbortSignal): Promise<void> {
    const { lease, doubt } = this.#context;
    while (!over.aborted && lease.isHeld() && !this.#marks.isDeposed) {
      this.#send();
      this.#read();
      this.#marks.mark("due");
      await this.#latch.wait(this.#idleMs());
    }
    if (this.#marks.isDeposed) throw new NotLeadingError("another relay leads");
    if (!doubt.signal.aborted && lease.isHeld()) await this.#finish();
  }

  /** Nothing reads or marks any more once the session is gone; rows that were not marked are published again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#publisher.abandon();
    await Promise.all([this.#reading, this.#marks.settled()]);
  }

  #send(): void {
    const { options } = this.#context;
    if (!options.nats.isConnected()) return;
    const source = sourceOf(options.schema);
    for (const row of this.#queue.take(MAX_IN_FLIGHT - this.#publisher.inFlight())) {
      failpoint("relay.before-publish");
      const publication = publicationOf(row, source);
      if (publication !== undefined) this.#publisher.publish(publication, (outcome) => this.#settle(row, outcome));
      else this.#settle(row, { kind: "refused", reason: "its subject or key cannot be written in NATS's protocol" });
    }
  }

  #settle(row: OutboxRow, outcome: PublishOutcome): void {
    failpoint("relay.after-publish");
    if (outcome.kind === "stored") this.#stored(row, outcome);
    else this.#failed(row, outcome);
    this.#latch.notify();
  }

  #stored(row: OutboxRow, { stream, sequence, duplicate }: PublishOutcome & { kind: "stored" }): void {
    // A new message below an earlier one: the stream was made again under our hands.
    const isAnother = !duplicate && sequence <= (this.#highest.get(stream) ?? 0);
    if (isAnother) {
      const { fellBackTo } = this.#context;
      fellBackTo.set(stream, Math.min(sequence - 1, fellBackTo.get(stream) ?? sequence));
      this.#context.doubt.abort(new Error(`${stream} fell back`));
      return;
    }
    if (!duplicate) this.#highest.set(stream, sequence);
    this.#pauses.stored(row, stream);
    this.#queue.acknowledged(row);
    this.#marks.add({ row, stream, sequence });
  }

  #failed(row: OutboxRow, outcome: Exclude<PublishOutcome, { kind: "stored" }>): void {
    const { options, metrics, doubt } = this.#context;
    metrics.failures.inc({ cause: outcome.kind });
    this.#queue.failed(row);
    const stream = streamOf(row.subject);
    if (outcome.kind === "stream_missing" && stream !== undefined && options.streams.includes(stream)) {
      doubt.abort(new Error(`${stream} is missing`));
      return;
    }
    const wasPaused = this.#pauses.isStreamPaused(row);
    this.#pauses.failed(row, outcome, this.#now());
    if (!wasPaused && this.#pauses.isStreamPaused(row)) this.#queue.dropWaiting(this.#pauses.isStreamPaused);
  }

  #read(): void {
    const { options } = this.#context;
    const now = this.#now();
    if (this.#reading !== undefined || now < this.#readNotBefore || this.#queue.size >= MAX_HELD) return;
    if (!options.nats.isConnected() || !(this.#isWoken || now >= this.#nextReadAt())) return;
    this.#isWoken = false;
    this.#reading = this.#readRows(now).finally(() => {
      this.#reading = undefined;
      this.#latch.notify();
    });
  }

  async #readRows(now: number): Promise<void> {
    const { options } = this.#context;
    const pauses = this.#pauses.forReading(now);
    this.#nextPollAt = now + (options.pollMs ?? 75);
    if (pauses === undefined) return;
    const held = this.#queue.startReading();
    let found: readonly OutboxRow[] = [];
    try {
      const isOrdered = this.#hasBacklog || this.#readSinceOrdered >= ORDERED_EVERY;
      const read = isOrdered ? readBacklog : readUnpublished;
      const limit = Math.min(READ_LIMIT, MAX_HELD - this.#queue.size);
      const pausedPrefixes = [...pauses.pausedPrefixes, ...this.#unreadyPrefixes];
      const query = { ...pauses, pausedPrefixes, held, limit };
      const rows = await read(options.pool, options.schema, query);
      this.#hasBacklog = rows.length === limit;
      this.#readSinceOrdered = rows.length + (isOrdered ? 0 : this.#readSinceOrdered);
      found = rows.filter(this.#pauses.mayGo);
      const took = this.#now() - now;
      if (this.#hasBacklog) this.#isWoken = true;
      else this.#readNotBefore = now + READ_SPACING_MS;
      // Behind a full stream or a paused key the reading skips what waits: the longer that takes, the rarer it is.
      this.#nextPollAt = Math.max(this.#nextPollAt, now + 10 * took);
    } catch (error) {
      options.log.warn({ err: error }, "could not read the outbox");
      this.#readNotBefore = now + 200 + Math.random() * 800;
    } finally {
      this.#queue.endReading(found);
    }
  }

  /** The clean stop: nothing new goes out, what is under way is waited for and marked. */
  async #finish(): Promise<void> {
    const deadline = this.#now() + STOP_PATIENCE_MS;
    const isBusy = () => this.#publisher.inFlight() > 0 || this.#marks.isBusy;
    while (isBusy() && this.#now() < deadline && !this.#marks.isDeposed && this.#context.lease.isHeld()) {
      this.#marks.mark("all");
      await this.#latch.wait(50);
    }
  }

  #nextReadAt(): number {
    return Math.min(this.#nextPollAt, this.#pauses.nextAt());
  }

  #idleMs(): number {
    const nextRead = this.#isWoken ? this.#readNotBefore : Math.max(this.#nextReadAt(), this.#readNotBefore);
    const isReadPossible =
      this.#reading === undefined && this.#queue.size < MAX_HELD && this.#context.options.nats.isConnected();
    const next = Math.min(isReadPossible ? nextRead : Infinity, this.#marks.nextAt(), this.#now() + 1_000);
    return Math.max(1, next - this.#now());
  }

  #now(): number {
    return this.#context.options.clock.monotonicMs();
  }
}
