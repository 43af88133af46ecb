import { UploadCompletedSchema, UploadExpiredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { UploadRow } from "./uploads.store.ts";

/** The upload as it is after it was completed: its event version already counts this event. */
export function uploadCompleted(clock: Clock, upload: UploadRow): OutboxEvent {
  return newEvent(UploadCompletedSchema, addressOf(clock, "completed", upload), numbersOf(upload));
}

/** The upload as it is after it has expired. */
export function uploadExpired(clock: Clock, upload: UploadRow): OutboxEvent {
  return newEvent(UploadExpiredSchema, addressOf(clock, "expired", upload), numbersOf(upload));
}

/** The upload as it is after its end, told again with numbers that were put right. */
export function uploadEnded(clock: Clock, upload: UploadRow): OutboxEvent {
  return upload.state === "completed" ? uploadCompleted(clock, upload) : uploadExpired(clock, upload);
}

function addressOf(clock: Clock, word: "completed" | "expired", upload: UploadRow) {
  return {
    subject: `decentrastore.upload.${word}.${upload.upload_id}`,
    key: upload.upload_id,
    keyVersion: upload.event_version,
    clock,
  };
}

function numbersOf(upload: UploadRow) {
  return {
    uploadId: upload.upload_id,
    userId: upload.user_id,
    reservationId: upload.reservation_id ?? "",
    chargedChunks: upload.charged_chunks,
    chargedBytes: upload.charged_bytes,
  };
}
