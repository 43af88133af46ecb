import { fromBinary } from "@bufbuild/protobuf";
import { UserDeletedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import { insertDeletedUsers } from "./deleted-users.store.ts";

/**
 * Remembers the users that are gone. A user can have millions of chunks, so ending them is the purge worker's affair; from
 * this commit on nothing more is placed for the user.
 */
export function onUserDeleted(deps: Pick<Deps, "clock">) {
  return async (tx: Transaction, events: readonly ReceivedEvent[]): Promise<void> => {
    const userIds = events
      .filter((event) => event.type === UserDeletedSchema.typeName)
      .map((event) => fromBinary(UserDeletedSchema, event.payload).userId.toLowerCase());
    if (userIds.length > 0) await insertDeletedUsers(tx, [...new Set(userIds)], deps.clock.now());
  };
}
