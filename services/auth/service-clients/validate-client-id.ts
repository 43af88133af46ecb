import { validate } from "#platform/rpc/validate.ts";

export function validateClientId(clientId: string): void {
  validate((check) => check.text("client_id", clientId, { min: 1, max: 64 }));
}
