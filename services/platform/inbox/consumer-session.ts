import { createLatch, type Latch } from "#platform/events/latch.ts";
import { failpoint } from "#platform/failpoints/failpoints.ts";
import { type Pull, startPull } from "#platform/nats/pull.ts";
import { isDatabaseUnavailable } from "#platform/postgres/errors.ts";
import { attachDurable } from "./attach.ts";
import { type Committed, commitBatch, DeposedError, inboxConsumerOf, startBatch } from "./batch.ts";
import type { ConsumerContext } from "./consumer-context.ts";
import { publishDeadLetter } from "./dead-letter.ts";
import { type DeliveredEvent, deliveredEvent, type UnreadableMessage } from "./delivered-event.ts";
import { openProgress, startGapWatch } from "./gap-watch.worker.ts";
import { recordGivenUp } from "./inbox.store.ts";
import { createParking, type ParkedKey } from "./parking.ts";
import { createPipeline, type Pipeline } from "./pipeline.ts";
import type { Progress } from "./progress.ts";

const MAX_PARKED = 1_000;
const MAX_RETRY_DELAY_MS = 60_000;

/** Consumes until the lease is lost, the process stops (the batch under way is then finished), or doubt. */
export async function runConsumerSession(context: ConsumerContext): Promise<void> {
  const { options, doubt } = context;
  const { nats, clock, stream, durable, filterSubject, maxBatch = 1_000 } = options;
  const capacity = maxBatch * 2;
  const maxAckPending = capacity + MAX_PARKED + maxBatch;
  const attached = await attachDurable(nats, {
    ...{ stream, durable, maxAckPending },
    ...(filterSubject === undefined ? {} : { filterSubject }),
  });
  const progress = await openProgress(context, attached);
  const over = AbortSignal.any([context.lease.signal, doubt.signal]);
  const latch = createLatch(over);
  const onLost = (reason: string) => doubt.abort(new Error(reason));
  const asked = { nats, stream, durable, capacity, clock, onReady: latch.notify, onLost };
  using pull = startPull({ ...asked, decode: deliveredEvent });
  await using _watch = startGapWatch(context, attached.streamCreatedAt, progress);
  await new ConsumerSession(context, pull, latch, progress).run(over);
}

type Arrived = DeliveredEvent | UnreadableMessage;

class ConsumerSession {
  readonly #context: ConsumerContext;
  readonly #pull: Pull<Arrived>;
  readonly #latch: Latch;
  readonly #progress: Progress;
  readonly #parking = createParking<DeliveredEvent>();
  /** Of messages without an envelope, those that could not be put aside yet. */
  #unreadable: UnreadableMessage[] = [];
  readonly #pipeline: Pipeline;
  #waits = 0;

  constructor(context: ConsumerContext, pull: Pull<Arrived>, latch: Latch, progress: Progress) {
    this.#context = context;
    const { clock, leaseTtlMs = 10_000 } = context.options;
    this.#pipeline = createPipeline(
      (events, before) => startBatch(context, events, before, (result) => this.#onCommitted(events, result)),
      (events) => this.#applyOrSplit(events),
      // The lease is renewed each third of its time.
      { monotonicMs: () => clock.monotonicMs(), longestMs: leaseTtlMs / 6 },
    );
    this.#pull = pull;
    this.#latch = latch;
    this.#progress = progress;
  }

  async run(over: AbortSignal): Promise<void> {
    const { options, metrics, lease, doubt } = this.#context;
    const { clock, durable, log, maxBatch = 1_000 } = options;
    while (!over.aborted && lease.isHeld()) {
      try {
        const room = this.#parking.size < MAX_PARKED;
        if (room) await this.#process(this.#pull.take(maxBatch));
        // A batch stays open only for the sake of one that comes right behind.
        const isSettling = this.#pull.buffered === 0 || this.#waiting > 0;
        if (isSettling) await this.#pipeline.settle();
        await this.#retryParked();
        const isBurying = await this.#buryUnreadable();
        if (isSettling && this.#waiting === 0) this.#progress.settle(this.#progress.taken);
        this.#waits = 0;
        metrics.parked.set({ consumer: durable }, this.#parking.size);
        if (isBurying || (room && this.#pull.buffered > 0)) continue;
        const idleMs = Math.min(1_000, this.#parking.nextAt() - clock.monotonicMs());
        await this.#latch.wait(Math.max(1, idleMs));
      } catch (error) {
        if (over.aborted) break;
        // Nothing is acknowledged, so what was taken comes again after the consumer is set up anew.
        log.warn({ err: error, consumer: durable }, "the consumer has to start again");
        doubt.abort(error);
      }
    }
    await this.#pipeline.drain();
  }

  async #process(arrived: readonly Arrived[]): Promise<void> {
    if (arrived.length > 0) failpoint("consumer.received");
    const events: DeliveredEvent[] = [];
    for (const event of arrived) {
      this.#progress.take(event.delivery.streamSequence);
      if ("error" in event) this.#unreadable.push(event);
      else if (!this.#parking.follow(event)) events.push(event);
    }
    if (events.length > 0) await this.#pipeline.push(events);
  }

  /** Events that are neither applied nor under way. */
  get #waiting(): number {
    return this.#parking.size + this.#unreadable.length;
  }

  /** A batch that fails is halved until the failing events stand alone; each of those is parked with its key. */
  async #applyOrSplit(events: readonly DeliveredEvent[]): Promise<void> {
    const free = events.filter((event) => !this.#parking.follow(event));
    const [first] = free;
    if (first === undefined) return;
    const failure = await this.#apply(free);
    if (failure === undefined) return;
    if (free.length === 1) {
      this.#park(first, failure.error);
      return;
    }
    const middle = Math.ceil(free.length / 2);
    await this.#applyOrSplit(free.slice(0, middle));
    await this.#applyOrSplit(free.slice(middle));
  }

  /** One transaction, retried while the database is away; acknowledges after the commit. Answers why it failed. */
  async #apply(events: readonly DeliveredEvent[]): Promise<{ error: unknown } | undefined> {
    const { options, lease } = this.#context;
    for (;;) {
      try {
        this.#onCommitted(events, await commitBatch(this.#context, events));
        return undefined;
      } catch (error) {
        if (error instanceof DeposedError) throw error;
        if (!isDatabaseUnavailable(error)) return { error };
        if (this.#waits === 0) options.log.warn({ err: error, consumer: options.durable }, "waiting for the database");
        this.#waits += 1;
        await options.clock.sleep(Math.min(2_000, 50 * 2 ** this.#waits) * (0.5 + Math.random() / 2), lease.signal);
        if (lease.signal.aborted || !lease.isHeld()) throw new DeposedError("stopped while the database was away");
      }
    }
  }

  #onCommitted(events: readonly DeliveredEvent[], { applied, afterCommit }: Committed): void {
    failpoint("consumer.after-commit");
    for (const work of afterCommit) work();
    for (const event of events) this.#pull.acknowledge(event.delivery);
    // Batches commit in order.
    if (this.#waiting === 0) this.#progress.settle(events.at(-1)?.delivery.streamSequence ?? 0);
    failpoint("consumer.after-acknowledge");
    this.#count(events, applied);
    this.#waits = 0;
  }

  #count(events: readonly DeliveredEvent[], applied: number): void {
    const { options, metrics } = this.#context;
    const consumer = options.durable;
    metrics.applied.inc({ consumer }, applied);
    metrics.duplicates.inc({ consumer }, events.length - applied);
    const last = events.at(-1);
    const first = events[0];
    if (last === undefined || first === undefined) return;
    metrics.pending.set({ consumer }, last.delivery.pending);
    const age = options.clock.now().since(Temporal.Instant.from(first.time)).total("seconds");
    if (applied > 0) metrics.age.observe({ consumer }, Math.max(0, age));
  }

  #park(event: DeliveredEvent, error: unknown): void {
    const { options, metrics } = this.#context;
    metrics.failures.inc({ consumer: options.durable });
    options.log.warn({ err: error, ...facts(event), consumer: options.durable }, "an event failed, its key waits");
    this.#parking.park(event, { tries: 1, retryAt: this.#retryAt(1), cause: error });
  }

  #retryAt(tries: number): number {
    const { clock, retryDelayMs = 500 } = this.#context.options;
    const most = Math.min(MAX_RETRY_DELAY_MS, retryDelayMs * 2 ** (tries - 1));
    return clock.monotonicMs() + most * (0.5 + Math.random() / 2);
  }

  async #retryParked(): Promise<void> {
    for (const parked of this.#parking.due(this.#context.options.clock.monotonicMs())) {
      while (await this.#retry(parked));
    }
  }

  /** Tries the first event of a parked key; true when it is done with and another waits behind it. */
  async #retry(parked: ParkedKey<DeliveredEvent>): Promise<boolean> {
    const { options, metrics, lease } = this.#context;
    const [event] = parked.events;
    if (event === undefined || lease.signal.aborted) return false;
    const isLast = parked.tries >= (options.maxTries ?? 8);
    const failure = isLast ? { error: parked.cause } : await this.#apply([event]);
    if (failure !== undefined && !isLast) {
      parked.tries += 1;
      parked.cause = failure.error;
      parked.retryAt = this.#retryAt(parked.tries);
      metrics.failures.inc({ consumer: options.durable });
      options.log.warn({ err: failure.error, ...facts(event), tries: parked.tries }, "an event failed again");
      return false;
    }
    if (isLast && !(await this.#bury(event, parked.cause, parked.tries))) {
      parked.retryAt = this.#retryAt(parked.tries);
      return false;
    }
    this.#parking.advance(parked);
    return parked.events.length > 0;
  }

  /** Into the dead letters; false when they cannot be reached, and nothing is lost. */
  async #bury(arrived: Arrived, error: unknown, tries: number): Promise<boolean> {
    const { options, metrics } = this.#context;
    const { nats, pool, stream, schema, durable, clock, log } = options;
    const { delivery } = arrived;
    try {
      const { subject, headers, data } = delivery.message;
      const given = { subject, headers, data, streamSequence: delivery.streamSequence };
      await publishDeadLetter(nats, given, { stream, schema, durable, tries, error, time: clock.now() }, log);
      // Afterwards, so that an event never counts as given up without lying among the dead letters.
      if (!("error" in arrived)) await recordGivenUp(pool, schema, inboxConsumerOf(this.#context), arrived);
    } catch (unreachable) {
      log.error({ err: unreachable, consumer: durable }, "an event could not be put into the dead letters");
      return false;
    }
    this.#pull.terminate(delivery);
    metrics.deadLetters.inc({ consumer: durable });
    const { streamSequence, message } = delivery;
    log.error({ err: error, consumer: durable, subject: message.subject, streamSequence }, "an event was given up");
    return true;
  }

  /** One at a time, since the others have to go on; true when another is to follow. */
  async #buryUnreadable(): Promise<boolean> {
    const [next] = this.#unreadable;
    if (next === undefined || !(await this.#bury(next, next.error, 1))) return false;
    this.#unreadable.shift();
    return this.#unreadable.length > 0;
  }
}

function facts({ eventId, type, key, keyVersion, streamSequence }: DeliveredEvent) {
  return { eventId, type, key, keyVersion: keyVersion.toString(), streamSequence: streamSequence.toString() };
}
