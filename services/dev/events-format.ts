import { createRegistry, fromBinary, type JsonObject, toJson } from "@bufbuild/protobuf";
import type { MsgHdrs } from "nats";
import { file_decentrastore_events_v1_events } from "#gen/decentrastore/events/v1/events_pb.ts";

const registry = createRegistry(file_decentrastore_events_v1_events);

/** An event as a person reads it. */
export interface PrintedEvent {
  time: string;
  /** The subject without the common prefix. */
  subject: string;
  type: string;
  id: string;
  keyVersion: string;
  event: JsonObject;
}

export function printedEvent(subject: string, headers: MsgHdrs | undefined, payload: Uint8Array): PrintedEvent {
  const type = headers?.get("ce-type") ?? "";
  return {
    time: headers?.get("ce-time") ?? "",
    subject: subject.replace(/^decentrastore\./, ""),
    type,
    id: headers?.get("ce-id") ?? "",
    keyVersion: headers?.get("ce-keyversion") ?? "",
    event: decodedEvent(type, payload),
  };
}

/** Decodes by the message's name; what is unknown or broken shows its size instead of its content. */
export function decodedEvent(type: string, payload: Uint8Array): JsonObject {
  const schema = registry.getMessage(type);
  try {
    const json = schema === undefined ? undefined : toJson(schema, fromBinary(schema, payload), { registry });
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json;
  } catch {
    // Whoever wrote it did not write this message.
  }
  return { undecodedBytes: payload.length };
}

/** One line: the time of day, what happened, and the fields that the subject does not tell already. */
export function eventLine(printed: PrintedEvent): string {
  const words = printed.subject.split(".");
  const [area = "", what = "", ...key] = words;
  const id = key.join(".");
  const fields = Object.entries(printed.event).filter(([, value]) => value !== id);
  const text = fields.map(([name, value]) => `${name}=${valueText(value)}`);
  const time = printed.time.slice(11, 23).padEnd(12);
  return `${time}  ${`${area}.${what}`.padEnd(22)} ${shortened(id).padEnd(14)} ${text.join(" ")}`.trimEnd();
}

function valueText(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : shortened(String(value));
}

/** Hashes and node ids by their beginning, UUIDs whole. */
function shortened(id: string): string {
  return /^[0-9a-f]{64}$/.test(id) ? `${id.slice(0, 12)}…` : id;
}
