import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { createStartQueue, STARTS_PER_TURN } from "./start-queue.ts";

const MANY = 10 * STARTS_PER_TURN;

test("one connection with many requests does not hold up another with one", async () => {
  const queue = createStartQueue();
  const [greedy, honest] = [{}, {}];
  const started: string[] = [];
  const start = (name: string) => () => started.push(name) > 0;
  for (let index = 0; index < MANY; index += 1) queue(greedy, start("greedy"));
  queue(honest, start("honest"));
  expect(started).toEqual([]);
  while (started.length === 0) await nextTurn();
  expect(started.slice(0, 2)).toEqual(["greedy", "honest"]);
  expect(started.length).toBeLessThan(MANY);
  while (started.length <= MANY) await nextTurn();
  await nextTurn();
  expect(started.length).toBe(MANY + 1);
});

test("what is started in one turn is bounded, and what was given up before its turn does not count", async () => {
  const queue = createStartQueue();
  const connection = {};
  let started = 0;
  const start = () => {
    started += 1;
    return true;
  };
  for (let index = 0; index < MANY; index += 1) queue(connection, () => false);
  for (let index = 0; index < MANY; index += 1) queue(connection, start);
  const perTurn: number[] = [];
  for (let before = 0; started < MANY; before = started) {
    await nextTurn();
    perTurn.push(started - before);
  }
  expect(Math.max(...perTurn)).toBe(STARTS_PER_TURN);
});
