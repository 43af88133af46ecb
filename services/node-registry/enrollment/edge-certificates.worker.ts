import type { EdgeCertificates } from "#platform/grpc/node-edge.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Authorities } from "./authorities.worker.ts";
import { issueServerCertificate } from "./certificates.ts";

const SERVER_TTL_MS = 30 * 86_400_000;
/** A clock that is behind the certificate by more than this has gone back. Certificates are valid some minutes before. */
const CLOCK_SLACK = Temporal.Duration.from({ minutes: 1 });
const LOCAL_NAMES = ["localhost", "127.0.0.1", "::1"];
export const AUTHORITIES_POLL_MS = 5_000;

export interface EdgeCertificatesDeps {
  readonly authorities: Authorities;
  readonly clock: Clock;
  readonly log: Logger;
  /** Names and addresses besides the local ones. */
  readonly names: readonly string[];
  readonly pollMs: number;
}

export interface ServerCertificate extends EdgeCertificates {
  readonly madeAt: Temporal.Instant;
  readonly renewAt: Temporal.Instant;
}

/** A server certificate with a key that only this process knows and that is never stored. */
export async function makeEdgeCertificates(deps: EdgeCertificatesDeps): Promise<ServerCertificate> {
  const from = deps.clock.now();
  const names = [...new Set([...LOCAL_NAMES, ...deps.names])];
  const issued = await issueServerCertificate(deps.authorities.serving(), names, { from, ttlMs: SERVER_TTL_MS });
  return {
    certificate: issued.certificatePem,
    privateKey: issued.privateKeyPem,
    clientCas: deps.authorities.trusted().map((authority) => authority.certificatePem),
    madeAt: from,
    renewAt: from.add({ milliseconds: (SERVER_TTL_MS * 2) / 3 }),
  };
}

/**
 * Follows the authorities: trusts an announced one, serves with the right one, forgets a retired one, and replaces the
 * server certificate before it ends, and one from a clock that was ahead, which nodes would refuse until then. Connections
 * that are open stay.
 */
export async function keepEdgeCertificates(
  deps: EdgeCertificatesDeps,
  current: ServerCertificate,
  replace: (certificates: EdgeCertificates) => void,
  signal: AbortSignal,
): Promise<void> {
  let { madeAt, renewAt } = current;
  // Until they are in use: the authorities tell of a change only once.
  let isStale = false;
  while (!signal.aborted) {
    await deps.clock.sleep(deps.pollMs, signal);
    if (signal.aborted) return;
    try {
      if (await deps.authorities.refresh()) isStale = true;
      const now = deps.clock.now();
      const isDue = Temporal.Instant.compare(now, renewAt) >= 0;
      const isFromAhead = Temporal.Instant.compare(now.add(CLOCK_SLACK), madeAt) < 0;
      if (!isStale && !isDue && !isFromAhead) continue;
      const certificates = await makeEdgeCertificates(deps);
      replace(certificates);
      ({ madeAt, renewAt } = certificates);
      isStale = false;
      deps.log.info({ authorities: certificates.clientCas.length }, "replaced the node edge's certificates");
    } catch (error) {
      deps.log.error({ err: error }, "the node edge's certificates cannot be kept up to date");
    }
  }
}
