import type { EdgeCertificates } from "#platform/grpc/node-edge.ts";
import type { AuthoritiesDeps } from "./authorities.worker.ts";
import { type EdgeCertificatesDeps, keepEdgeCertificates, type ServerCertificate } from "./edge-certificates.worker.ts";
import { type RotationTimes, startRotation } from "./rotation.worker.ts";

/** Replaces the CA when it is time, and this process's server certificate whenever that or time asks for it. */
export function startEdgeUpkeep(
  deps: AuthoritiesDeps & EdgeCertificatesDeps,
  times: RotationTimes,
  current: ServerCertificate,
  replace: (certificates: EdgeCertificates) => void,
): AsyncDisposable {
  const stop = new AbortController();
  const rotation = startRotation(deps, times, stop.signal);
  const keeping = keepEdgeCertificates(deps, current, replace, stop.signal);
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await keeping;
      await rotation[Symbol.asyncDispose]();
    },
  };
}
