import { expect, test } from "vitest";
import { raisedLimits, streamSettingsOf } from "./stream-settings.ts";

test("limits that are lower are raised, and what would lower them is told apart", () => {
  const now = { max_bytes: 100, num_replicas: 2 };
  expect(raisedLimits(now, {})).toEqual({ raised: {}, lower: {} });
  expect(raisedLimits(now, { maxBytes: 100, replicas: 2 })).toEqual({ raised: {}, lower: {} });
  expect(raisedLimits(now, { maxBytes: 101, replicas: 3 })).toEqual({
    raised: { max_bytes: 101, num_replicas: 3 },
    lower: {},
  });
  expect(raisedLimits(now, { maxBytes: 99, replicas: 1 })).toEqual({
    raised: {},
    lower: { maxBytes: 99, replicas: 1 },
  });
  // No limit at all is above every limit.
  expect(raisedLimits({ ...now, max_bytes: -1 }, { maxBytes: 99 })).toEqual({ raised: {}, lower: { maxBytes: 99 } });
});

test("the environment sets copies for all streams and sizes for those that it names", () => {
  const settings = streamSettingsOf({ NATS_STREAM_MAX_BYTES: new Map([["CHUNKS", 5]]), NATS_STREAM_REPLICAS: 3 });
  expect(settings("CHUNKS")).toEqual({ maxBytes: 5, replicas: 3 });
  expect(settings("USERS")).toEqual({ replicas: 3 });
  expect(streamSettingsOf({})("USERS")).toEqual({});
});
