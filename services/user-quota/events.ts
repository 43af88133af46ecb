const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const SHA256 = /^[0-9a-f]{64}$/;

/** The event breaks the contract, so no number of tries can apply it: it ends among the dead letters. */
export class UnusableEventError extends Error {
  override readonly name = "UnusableEventError";
}

/** In the form in which PostgreSQL gives UUIDs back, so that they can be keys of a map. */
export function uuidOf(field: string, value: string): string {
  if (!UUID.test(value)) throw new UnusableEventError(`${field} is not a UUID`);
  return value.toLowerCase();
}

export function optionalUuidOf(field: string, value: string): string | undefined {
  return value === "" ? undefined : uuidOf(field, value);
}

export function sha256Of(field: string, value: string): string {
  if (!SHA256.test(value)) throw new UnusableEventError(`${field} is not 64 lowercase hex characters`);
  return value;
}
