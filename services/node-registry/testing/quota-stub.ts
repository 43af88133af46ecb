import { randomUUID } from "node:crypto";
import {
  type Client,
  Code,
  type ConnectRouter,
  createClient,
  createRouterTransport,
  type Interceptor,
  type ServiceImpl,
} from "@connectrpc/connect";
import { ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { RpcError } from "#platform/rpc/errors.ts";

export interface StubReservation {
  readonly reservationId: string;
  readonly userId: string;
  readonly sizeBytes: bigint;
  readonly key: string;
  state: "held" | "released";
}

/** user-quota as its contract describes it, in memory: another service's tables are not ours to test. */
export interface QuotaStub {
  readonly client: Client<typeof UserQuotaService>;
  /** To serve it over a real port. */
  readonly routes: (router: ConnectRouter) => void;
  readonly reservations: StubReservation[];
  held(userId?: string): bigint;
  /** Runs before the answer of each ReserveStorage: may throw, or do something in between. */
  onReserve: (reservation: StubReservation) => void | Promise<void>;
  /** The same before anything is reserved. */
  beforeReserve: (userId: string, key: string) => void | Promise<void>;
  onRelease: (reservationId: string) => void | Promise<void>;
  limitBytes: bigint;
}

export function createQuotaStub(): QuotaStub {
  const reservations: StubReservation[] = [];
  const routes = (router: ConnectRouter) =>
    router.service(
      UserQuotaService,
      handlersOf(() => stub),
      { interceptors: [mapErrors] },
    );
  const stub: QuotaStub = {
    routes,
    client: createClient(UserQuotaService, createRouterTransport(routes)),
    reservations,
    held: (userId) =>
      reservations
        .filter(({ state, userId: holder }) => state === "held" && (userId === undefined || holder === userId))
        .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
    onReserve: () => {},
    beforeReserve: () => {},
    onRelease: () => {},
    limitBytes: 2n ** 50n,
  };
  return stub;
}

function handlersOf(stubOf: () => QuotaStub): Partial<ServiceImpl<typeof UserQuotaService>> {
  return {
    reserveStorage: async ({ userId, sizeBytes, idempotencyKey: key }) => {
      const stub = stubOf();
      await stub.beforeReserve(userId, key);
      const reservation = reserve(stub, { userId, sizeBytes, key });
      await stub.onReserve(reservation);
      return { reservation: { ...reservation, state: ReservationState.HELD } };
    },
    releaseReservation: async ({ reservationId }) => {
      const stub = stubOf();
      await stub.onRelease(reservationId);
      const found = stub.reservations.find((reservation) => reservation.reservationId === reservationId);
      if (found === undefined) throw refusal(Code.NotFound, "RESERVATION_NOT_FOUND");
      found.state = "released";
      return { reservation: { ...found, state: ReservationState.RELEASED } };
    },
  };
}

function reserve(
  stub: QuotaStub,
  asked: { readonly userId: string; readonly sizeBytes: bigint; readonly key: string },
): StubReservation {
  const known = stub.reservations.find(({ key, userId }) => key === asked.key && userId === asked.userId);
  if (known !== undefined) {
    if (known.sizeBytes !== asked.sizeBytes) throw refusal(Code.AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    if (known.state === "released") throw refusal(Code.FailedPrecondition, "RESERVATION_CLOSED");
    return known;
  }
  if (stub.held(asked.userId) + asked.sizeBytes > stub.limitBytes)
    throw refusal(Code.ResourceExhausted, "QUOTA_EXCEEDED");
  const reservation: StubReservation = { ...asked, reservationId: randomUUID(), state: "held" };
  stub.reservations.push(reservation);
  return reservation;
}

function refusal(code: Code, reason: string): RpcError {
  return new RpcError({ code, reason, message: reason, metadata: { asked_bytes: "1" } });
}

const mapErrors: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    throw error instanceof RpcError ? toConnectError(error) : error;
  }
};
