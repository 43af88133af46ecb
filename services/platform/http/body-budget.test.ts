import { expect, test } from "vitest";
import { createBodyBudget } from "./body-budget.ts";

const KB = 1_000;

/** Bodies that note why they were refused. */
function bodiesOf(limits: { maxBytes: number; maxBytesPerAddress?: number }) {
  const budget = createBodyBudget({ maxBytesPerAddress: limits.maxBytes, maxBytesPerSecond: 1e9, ...limits });
  return (address = "192.0.2.1") => {
    const refusals: string[] = [];
    const body = budget.open(address, (error) => refusals.push(error.rawMessage));
    return { body, refusals };
  };
}

test("the largest body is refused when all together are too large", () => {
  const open = bodiesOf({ maxBytes: 100 * KB });
  const [slow, quick] = [open(), open()];
  slow.body.add(80 * KB);
  quick.body.add(30 * KB);
  expect(slow.refusals).toEqual(["too many large requests at once, try again"]);
  expect(quick.refusals).toEqual([]);
  slow.body.add(80 * KB);
  expect([slow, quick].flatMap(({ refusals }) => refusals)).toHaveLength(1);
});

test("an address that holds too much is refused its largest body, and neither its smaller ones nor another address", () => {
  const open = bodiesOf({ maxBytes: 1_000 * KB, maxBytesPerAddress: 100 * KB });
  const [large, small, other] = [open(), open(), open("192.0.2.2")];
  for (const { body } of [large, other]) body.add(90 * KB);
  expect(large.refusals).toEqual([]);
  small.body.add(20 * KB);
  expect(large.refusals).toHaveLength(1);
  expect([...small.refusals, ...other.refusals]).toEqual([]);
  // What was given back is there again for the same address.
  small.body.release();
  const again = open();
  again.body.add(90 * KB);
  expect(again.refusals).toEqual([]);
});

test("what is complete, given up or refused counts no longer", () => {
  const open = bodiesOf({ maxBytes: 100 * KB });
  for (let round = 0; round < 5; round += 1) {
    const { body, refusals } = open();
    body.add(90 * KB);
    body.release();
    // What still comes of it is thrown away.
    body.add(90 * KB);
    body.release();
    expect(refusals).toEqual([]);
    const tooLarge = open();
    tooLarge.body.add(110 * KB);
    expect(tooLarge.refusals).toHaveLength(1);
  }
});

test("large bodies of one address wait for each other, small ones and those of others do not", async () => {
  const budget = createBodyBudget({ maxBytes: 1e9, maxBytesPerAddress: 1e9, maxBytesPerSecond: 1_000 * KB });
  const refuse = () => expect.unreachable("nothing is refused");
  const large = budget.open("192.0.2.1", refuse);
  expect(large.add(900 * KB)).toBeUndefined();
  const turn = large.add(200 * KB);
  expect(turn).toBeInstanceOf(Promise);
  expect(budget.open("192.0.2.1", refuse).add(20 * KB)).toBeUndefined();
  expect(budget.open("192.0.2.2", refuse).add(900 * KB)).toBeUndefined();
  await turn;
  // Who gives up and comes back has not paid by that.
  large.release();
  expect(budget.open("192.0.2.1", refuse).add(100 * KB)).toBeInstanceOf(Promise);
});

test("tiny chunks count for more than their bytes, and thousands of them are refused", () => {
  const refusalOf = (maxBytes: number, chunks: number, bytes = 1) => {
    const { body, refusals } = bodiesOf({ maxBytes })();
    for (let index = 0; index < chunks; index += 1) body.add(bytes);
    return refusals;
  };
  expect(refusalOf(100 * KB, 1_000)).toEqual(["too many large requests at once, try again"]);
  expect(refusalOf(1e9, 2_000)).toEqual(["the request comes in too many tiny pieces"]);
  expect(refusalOf(1e9, 1_000)).toEqual([]);
  expect(refusalOf(1e9, 5_000, 100)).toEqual([]);
});
