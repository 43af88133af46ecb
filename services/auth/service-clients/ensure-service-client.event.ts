import { randomBytes } from "node:crypto";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { recordAudit } from "../audit/audit.event.ts";
import { clientSecretHash, newClientSecret } from "./client-secret.ts";
import {
  findServiceClient,
  insertServiceClient,
  rotateClientSecret,
  setClientScopes,
} from "./service-clients.store.ts";

export interface ServiceClientWish {
  readonly name: string;
  readonly scopes: readonly string[];
  /** By default a new random one. */
  readonly clientId?: string | undefined;
  readonly secret?: string | undefined;
}

export type ServiceClientCreation =
  | {
      readonly kind: "created" | "updated" | "unchanged";
      readonly clientId: string;
      readonly secret: string | undefined;
    }
  /** Another client has the name, or the client was revoked. */
  | { readonly kind: "refused"; readonly why: "taken" | "revoked" };

/**
 * Makes a service client from outside of the service. With a client_id that exists it makes the client as wished: its
 * scopes, and where the secret is another one, that as the newest. So a launcher may call it at each start.
 */
export async function ensureServiceClient(
  deps: { readonly pool: Pool; readonly clock: Clock },
  wish: ServiceClientWish,
): Promise<ServiceClientCreation> {
  const { pool, clock } = deps;
  const clientId = wish.clientId ?? `sc_${randomBytes(12).toString("hex")}`;
  return await pool.transaction(async (tx) => {
    const existing = await findServiceClient(tx, clientId);
    if (existing === undefined) {
      const secret = wish.secret ?? newClientSecret();
      const secretHash = clientSecretHash(secret);
      const created = await insertServiceClient(tx, { ...wish, clientId, secretHash, createdAt: clock.now() });
      if (created === undefined) return { kind: "refused", why: "taken" };
      await recordAudit(tx, clock, { type: "CREATE_SERVICE_CLIENT", actorId: "cli", clientId });
      return { kind: "created", clientId, secret };
    }
    if (existing.revokedAt !== null) return { kind: "refused", why: "revoked" };
    const isSameSecret = wish.secret === undefined || existing.secretHash.equals(clientSecretHash(wish.secret));
    const isSameScopes = [...existing.scopes].sort().join() === [...wish.scopes].sort().join();
    if (isSameSecret && isSameScopes) return { kind: "unchanged", clientId, secret: undefined };
    if (!isSameScopes) {
      await setClientScopes(tx, clientId, wish.scopes);
      const reason = `scopes are now ${wish.scopes.join(" ")}`;
      await recordAudit(tx, clock, { type: "CREATE_SERVICE_CLIENT", actorId: "cli", clientId, reason });
    }
    if (!isSameSecret && wish.secret !== undefined) {
      await rotateClientSecret(tx, clientId, clientSecretHash(wish.secret), clock.now());
      await recordAudit(tx, clock, { type: "ROTATE_SERVICE_CLIENT_SECRET", actorId: "cli", clientId });
    }
    return { kind: "updated", clientId, secret: wish.secret };
  });
}
