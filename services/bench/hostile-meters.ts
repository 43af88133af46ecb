import { z } from "zod";
import { cpuMicrosOf } from "./registry-kit.ts";

/** What the attacked service and its attacker have used so far, and the service's longest stall since the last look. */
export interface Meters {
  readonly atMs: number;
  readonly serviceMs: number;
  readonly attackerMs: number;
  readonly stallMs: number;
}

export interface MeterSources {
  readonly servicePid: number;
  readonly attackerPid: number;
  /** Its event loop metrics start anew with every look. */
  readonly opsPort: number;
}

export async function readMeters({ servicePid, attackerPid, opsPort }: MeterSources): Promise<Meters> {
  const response = await fetch(`http://127.0.0.1:${opsPort}/metrics`);
  const [, seconds] = /^nodejs_eventloop_lag_max_seconds(?:{.*})? (.+)$/m.exec(await response.text()) ?? [];
  return {
    atMs: performance.now(),
    serviceMs: cpuMicrosOf(servicePid) / 1e3,
    attackerMs: cpuMicrosOf(attackerPid) / 1e3,
    stallMs: z.coerce.number().parse(seconds) * 1e3,
  };
}

export function p99(latencies: readonly number[]): number {
  const sorted = latencies.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
}

/** What one attack has done to the service and to its honest clients, over all rounds. */
export class AttackLog {
  readonly #rows = new Map<string, { runs: number; stallMs: number; serviceMs: number; attackerMs: number }>();
  readonly #latencies = new Map<string, number[]>();

  felt(attack: string, latencyMs: number): void {
    const others = this.#latencies.get(attack);
    if (others === undefined) this.#latencies.set(attack, [latencyMs]);
    else others.push(latencyMs);
  }

  ended(attack: string, before: Meters, after: Meters): void {
    const row = this.#rows.get(attack) ?? { runs: 0, stallMs: 0, serviceMs: 0, attackerMs: 0 };
    this.#rows.set(attack, {
      runs: row.runs + 1,
      stallMs: Math.max(row.stallMs, after.stallMs),
      serviceMs: row.serviceMs + after.serviceMs - before.serviceMs,
      attackerMs: row.attackerMs + after.attackerMs - before.attackerMs,
    });
  }

  table() {
    const rows = [...this.#rows].map(([attack, { runs, stallMs, serviceMs, attackerMs }]) => ({
      attack,
      runs,
      "honest calls": this.#latencies.get(attack)?.length ?? 0,
      "p99 ms": Math.round(p99(this.#latencies.get(attack) ?? [])),
      "longest stall ms": Math.round(stallMs),
      "service ms each": Math.round(serviceMs / runs),
      "attacker ms each": Math.round(attackerMs / runs),
    }));
    return rows.sort((a, b) => b["longest stall ms"] - a["longest stall ms"]);
  }
}
