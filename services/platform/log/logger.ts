import pino, { type DestinationStream } from "pino";
import { serializeError } from "./errors.ts";
import { redact } from "./redact.ts";

export type Logger = pino.Logger;

/**
 * A JSON line logger on stdout. Passwords, tokens and connection strings are taken out of every line, also where they
 * stand inside an error message; errors are logged with their cause chain under `err`.
 */
export function createLogger(service: string, level: string, destination?: DestinationStream): Logger {
  const options: pino.LoggerOptions = {
    name: service,
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: serializeError, error: serializeError, cause: serializeError },
    hooks: { streamWrite: redact },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
