import type { DescFile } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "#gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { implement, type RpcService } from "#platform/rpc/service.ts";
import { createDescriptorIndex, type DescriptorIndex } from "./descriptor-index.ts";

/** What v1 and v1alpha have in common: all but the names of their types. */
interface Query {
  readonly messageRequest:
    | { case: "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType" | "listServices"; value: string }
    | { case: "fileContainingExtension"; value: { containingType: string; extensionNumber: number } }
    | { case: undefined; value?: undefined };
}

/**
 * Server reflection, so that `buf curl` and `grpcurl` work without .proto files. Also under the older name v1alpha,
 * which is the only one that many clients know.
 */
export function reflectionServices(services: readonly RpcService[]): RpcService[] {
  const described = [...services.map(({ service }) => service), ServerReflection, ServerReflectionAlpha];
  const index = createDescriptorIndex(described);
  return [
    implement(ServerReflection, {
      serverReflectionInfo: async function* (requests) {
        for await (const request of requests) {
          yield { validHost: request.host, originalRequest: request, messageResponse: answer(index, request) };
        }
      },
    }),
    implement(ServerReflectionAlpha, {
      serverReflectionInfo: async function* (requests) {
        for await (const request of requests) {
          yield { validHost: request.host, originalRequest: request, messageResponse: answer(index, request) };
        }
      },
    }),
  ];
}

function answer(index: DescriptorIndex, { messageRequest: query }: Query) {
  switch (query.case) {
    case "listServices":
      return { case: "listServicesResponse", value: { service: index.services.map((name) => ({ name })) } } as const;
    case "fileByFilename":
      return files(index, index.fileNamed(query.value));
    case "fileContainingSymbol":
      return files(index, index.fileWith(query.value));
    case "fileContainingExtension":
      return files(index, index.fileExtending(query.value.containingType, query.value.extensionNumber));
    case "allExtensionNumbersOfType": {
      const extensionNumber = index.extensionsOf(query.value);
      const value = { baseTypeName: query.value, extensionNumber: [...extensionNumber] };
      return { case: "allExtensionNumbersResponse", value } as const;
    }
    default:
      return failure(Code.InvalidArgument, "message_request is required");
  }
}

function files(index: DescriptorIndex, file: DescFile | undefined) {
  if (file === undefined) return failure(Code.NotFound, "no such file, symbol or extension");
  const value = { fileDescriptorProto: [...index.serialized(file)] };
  return { case: "fileDescriptorResponse", value } as const;
}

function failure(errorCode: Code, errorMessage: string) {
  return { case: "errorResponse", value: { errorCode, errorMessage } } as const;
}
