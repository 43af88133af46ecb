import { expect, test } from "vitest";
import { wholeBody } from "./whole-body.ts";

async function* piecesOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, undefined> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
  return undefined;
}

async function read(bytes: Uint8Array, size: number, options: Parameters<typeof wholeBody>[1]): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for await (const piece of wholeBody(piecesOf(bytes, size), options)) pieces.push(Buffer.from(piece));
  return pieces;
}

function envelope(message: Uint8Array, length = message.byteLength): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

const message = Buffer.from("0123456789");

test("one message comes in one piece, however it was cut", async () => {
  for (const size of [1, 3, 5, 7, 100]) {
    const plain = await read(message, size, { readMaxBytes: 10, isEnveloped: false });
    expect(plain).toEqual([message]);
    const enveloped = await read(envelope(message), size, { readMaxBytes: 10, isEnveloped: true });
    expect(enveloped).toEqual([envelope(message)]);
  }
});

test("nothing is nothing, and half a message is handed on when no more comes", async () => {
  expect(await read(Buffer.alloc(0), 1, { readMaxBytes: 10, isEnveloped: true })).toEqual([]);
  const half = envelope(message, 20);
  expect(await read(half, 4, { readMaxBytes: 100, isEnveloped: true })).toEqual([half]);
  expect(await read(half.subarray(0, 3), 1, { readMaxBytes: 100, isEnveloped: true })).toEqual([half.subarray(0, 3)]);
});

test("what is too large is handed on at once, to be refused before the rest has come", async () => {
  async function* endless(start: Uint8Array): AsyncGenerator<Uint8Array, undefined> {
    yield start;
    await new Promise(() => {});
    return undefined;
  }
  const announced = wholeBody(endless(envelope(message, 1_000)), { readMaxBytes: 100, isEnveloped: true });
  expect((await announced[Symbol.asyncIterator]().next()).value).toEqual(envelope(message, 1_000));
  const plain = wholeBody(endless(message), { readMaxBytes: 9, isEnveloped: false });
  expect((await plain[Symbol.asyncIterator]().next()).value).toEqual(message);
  const two = Buffer.concat([envelope(message), envelope(message)]);
  const more = wholeBody(endless(two), { readMaxBytes: 100, isEnveloped: true });
  expect((await more[Symbol.asyncIterator]().next()).value).toEqual(two);
});

test("a body that breaks gives its error and nothing of what came before", async () => {
  async function* broken(): AsyncGenerator<Uint8Array, undefined> {
    yield message;
    throw new Error("broken");
  }
  const reader = wholeBody(broken(), { readMaxBytes: 100, isEnveloped: false })[Symbol.asyncIterator]();
  await expect(reader.next()).rejects.toThrow("broken");
});
