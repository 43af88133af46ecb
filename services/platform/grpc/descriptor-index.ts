import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** The descriptors behind a set of services, by every name that a reflection client may ask for. */
export interface DescriptorIndex {
  readonly services: readonly string[];
  fileNamed(name: string): DescFile | undefined;
  /** The file that declares a service, method, message, enum or extension, by full name. */
  fileWith(symbol: string): DescFile | undefined;
  fileExtending(typeName: string, number: number): DescFile | undefined;
  extensionsOf(typeName: string): readonly number[];
  /** The file and everything that it imports, as bytes of FileDescriptorProto. */
  serialized(file: DescFile): readonly Uint8Array[];
}

export function createDescriptorIndex(services: readonly DescService[]): DescriptorIndex {
  const all = new Set(services.flatMap((service) => [...withImports(service.file)]));
  const byName = new Map<string, DescFile>();
  const bySymbol = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescFile>>();
  for (const file of all) {
    byName.set(file.proto.name, file);
    for (const type of nestedTypes(file)) {
      bySymbol.set(type.typeName, file);
      if (type.kind === "service") {
        for (const method of type.methods) bySymbol.set(`${type.typeName}.${method.name}`, file);
      }
      if (type.kind === "extension") {
        const ofType = extensions.get(type.extendee.typeName) ?? new Map<number, DescFile>();
        extensions.set(type.extendee.typeName, ofType.set(type.number, file));
      }
    }
  }
  return {
    services: services.map((service) => service.typeName),
    fileNamed: (name) => byName.get(name),
    fileWith: (symbol) => bySymbol.get(symbol),
    fileExtending: (typeName, number) => extensions.get(typeName)?.get(number),
    extensionsOf: (typeName) => [...(extensions.get(typeName)?.keys() ?? [])],
    serialized: (file) => [...withImports(file)].map((each) => toBinary(FileDescriptorProtoSchema, each.proto)),
  };
}

/** Imports after their importer, each once. */
function withImports(file: DescFile, seen: Set<DescFile> = new Set()): Set<DescFile> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const imported of file.dependencies) withImports(imported, seen);
  return seen;
}
