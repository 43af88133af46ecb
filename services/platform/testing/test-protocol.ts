import { create, toBinary } from "@bufbuild/protobuf";
import { fileDesc, type GenService, serviceDesc } from "@bufbuild/protobuf/codegenv2";
import {
  FileDescriptorProtoSchema,
  file_google_protobuf_wrappers,
  type StringValueSchema,
} from "@bufbuild/protobuf/wkt";

type Method<K extends string> = { methodKind: K; input: typeof StringValueSchema; output: typeof StringValueSchema };

const message = ".google.protobuf.StringValue";
const proto = create(FileDescriptorProtoSchema, {
  name: "grpc/testing/test.proto",
  package: "grpc.testing",
  syntax: "proto3",
  dependency: ["google/protobuf/wrappers.proto"],
  service: [
    {
      name: "TestService",
      method: [
        { name: "Unary", inputType: message, outputType: message },
        { name: "ServerStream", inputType: message, outputType: message, serverStreaming: true },
        { name: "ClientStream", inputType: message, outputType: message, clientStreaming: true },
        { name: "Bidi", inputType: message, outputType: message, clientStreaming: true, serverStreaming: true },
      ],
    },
  ],
});

/**
 * One RPC of each kind over a string, made from a descriptor: the contracts have no client stream, and their streams
 * are bound to one port. `grpc.*` needs no access rule, so both stacks serve it to anybody.
 */
export const TestProtocol: GenService<{
  unary: Method<"unary">;
  serverStream: Method<"server_streaming">;
  clientStream: Method<"client_streaming">;
  bidi: Method<"bidi_streaming">;
}> = serviceDesc(
  fileDesc(Buffer.from(toBinary(FileDescriptorProtoSchema, proto)).toString("base64"), [file_google_protobuf_wrappers]),
  0,
);
