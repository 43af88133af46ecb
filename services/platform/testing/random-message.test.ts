import { equals, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { randomMessage, seededRandom } from "./random-message.ts";

const methods = [AuthService, ChunkService, NodeService, UserQuotaService].flatMap((service) => service.methods);

test("random messages of every request can be sent and read again", () => {
  const random = seededRandom(7);
  for (const { input } of methods) {
    for (let i = 0; i < 20; i++) {
      const bytes = toBinary(input, randomMessage(input, random));
      expect(Buffer.compare(toBinary(input, fromBinary(input, bytes)), bytes)).toBe(0);
    }
  }
});

test("the same seed gives the same messages", () => {
  const input = ChunkService.method.placeChunks.input;
  const [first, second] = [randomMessage(input, seededRandom(1)), randomMessage(input, seededRandom(1))];
  expect(equals(input, first, second)).toBe(true);
  expect(equals(input, first, randomMessage(input, seededRandom(2)))).toBe(false);
});
