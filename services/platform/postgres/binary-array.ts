/** An element type of PostgreSQL: its oid, and how a value is written in the type's binary form. */
interface ElementType<T> {
  readonly oid: number;
  readonly sizeOf: (value: T) => number;
  /** Writes `sizeOf` bytes at the place. @throws TypeError for what is no value of the type. */
  readonly write: (target: Buffer, value: T, at: number) => void;
}

const uuid: ElementType<string> = {
  oid: 2950,
  sizeOf: () => 16,
  write: (target, value, at) => writeHex(target, value.replaceAll("-", ""), at, 16),
};

const bytea: ElementType<Uint8Array> = {
  oid: 17,
  sizeOf: (value) => value.length,
  write: (target, value, at) => target.set(value, at),
};

const hexBytea: ElementType<string> = {
  oid: 17,
  sizeOf: (value) => Math.ceil(value.length / 2),
  write: (target, value, at) => writeHex(target, value, at, Math.ceil(value.length / 2)),
};

export const uuidsToBinary = (values: readonly (string | null)[]) => toBinary(uuid, values);
export const bytesToBinary = (values: readonly (Uint8Array | null)[]) => toBinary(bytea, values);
export const hexToBinary = (values: readonly (string | null)[]) => toBinary(hexBytea, values);

/**
 * A one-dimensional array as `array_recv` reads it: dimensions, whether there are nulls, the oid of the elements, their
 * number and the first subscript, each in four bytes; then each element behind its length, -1 for null. Half the bytes of
 * the text form for bytea and uuid, and neither side converts hex.
 */
function toBinary<T>(type: ElementType<T>, values: readonly (T | null)[]): Buffer {
  const HEADER = 20;
  let size = HEADER;
  for (const value of values) size += 4 + (value === null ? 0 : type.sizeOf(value));
  const target = Buffer.allocUnsafe(size);
  target.writeInt32BE(1, 0);
  target.writeInt32BE(values.includes(null) ? 1 : 0, 4);
  target.writeInt32BE(type.oid, 8);
  target.writeInt32BE(values.length, 12);
  target.writeInt32BE(1, 16);
  let at = HEADER;
  for (const value of values) {
    const length = value === null ? -1 : type.sizeOf(value);
    target.writeInt32BE(length, at);
    at += 4;
    if (value === null) continue;
    type.write(target, value, at);
    at += length;
  }
  return target;
}

/** Where a digit is none, `Buffer.write` stops before it. */
function writeHex(target: Buffer, hex: string, at: number, size: number): void {
  if (hex.length !== 2 * size || target.write(hex, at, size, "hex") !== size) {
    throw new TypeError(`not ${size} bytes in hex: ${JSON.stringify(hex.slice(0, 100))}`);
  }
}
