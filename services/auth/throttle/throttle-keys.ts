import { createHmac } from "node:crypto";

/** The keys under which a login attempt counts. */
export interface AttemptKeys {
  readonly name: Buffer;
  readonly nameAndAddress: Buffer;
}

export interface ThrottleKeys {
  /** `name` is the name as typed, in the form in which names are compared. */
  login(name: string, address: string): AttemptKeys;
  rate(rpc: string, address: string): Buffer;
}

/** MACs instead of names and addresses: what strangers type has no business in a database. */
export function createThrottleKeys(key: Uint8Array): ThrottleKeys {
  const mac = (...parts: readonly string[]) => {
    const hmac = createHmac("sha256", key);
    // Lengths first, so that no two lists of parts read the same.
    for (const part of parts) hmac.update(`${part.length}:`).update(part);
    return hmac.digest();
  };
  return {
    login: (name, address) => ({
      name: mac("login", name),
      nameAndAddress: mac("login", name, networkOf(address)),
    }),
    rate: (rpc, address) => mac("rate", rpc, networkOf(address)),
  };
}

/** One IPv6 customer has at least a /64, and so 2^64 addresses: they count as one. */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail = ""] = address.replace(/%.*$/, "").split("::");
  const words = head.split(":").filter((word) => word !== "");
  const last = address.includes("::") ? tail.split(":").filter((word) => word !== "") : [];
  const missing = Math.max(0, 8 - words.length - last.length);
  const all = [...words, ...Array.from({ length: missing }, () => "0"), ...last];
  return `${all
    .slice(0, 4)
    .map((word) => Number.parseInt(word, 16).toString(16))
    .join(":")}::/64`;
}
