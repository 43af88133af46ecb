import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createChunkFixture, newHash } from "../testing/chunk-fixture.ts";

test("a made-up token is a client's mistake, also where its instant is one that the database cannot read", async () => {
  await using f = await createChunkFixture();
  for (const since of ["253402300800000000", "999999999999999999"]) {
    const pageToken = Buffer.from(JSON.stringify([0, 3, since, newHash()])).toString("base64url");
    const error = await f.chunks.listUnderReplicatedChunks({ pageToken }).catch((failure: unknown) => failure);
    expect(ConnectError.from(error).code).toBe(Code.InvalidArgument);
  }
});
