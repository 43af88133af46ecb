// Who may import whom. `service.ts` of each service knows all its rooms; everything else follows these arrows.
const serviceNames = ["auth", "user-quota", "node-registry"];
const anyService = `^services/(${serviceNames.join("|")})/`;
// Tests, and what only tests use.
const tests = ["\\.test\\.ts$", "/(testing|model)/"];

// An upper room may use a lower one, never back.
const registryRooms = ["repair", "proofs", "reputation", "placement", "liveness", "enrollment", "chunks", "directory"];

const betweenServices = serviceNames.map((name) => ({
  name: `${name}-stands-alone`,
  comment: "A service imports another service's generated client, never its code.",
  severity: "error",
  from: { path: `^services/${name}/` },
  to: { path: anyService, pathNot: `^services/${name}/` },
}));

const registryLayers = registryRooms.slice(1).map((room, index) => ({
  name: `registry-${room}-stays-below`,
  comment: "node-registry's rooms depend downwards only.",
  severity: "error",
  from: { path: `^services/node-registry/${room}/`, pathNot: tests },
  to: { path: `^services/node-registry/(${registryRooms.slice(0, index + 1).join("|")})/` },
}));

export default {
  forbidden: [
    ...betweenServices,
    ...registryLayers,
    {
      name: "no-circular",
      severity: "error",
      from: { pathNot: "^proto/gen/" },
      to: { circular: true },
    },
    {
      name: "platform-knows-no-service",
      severity: "error",
      from: { path: "^services/platform/" },
      to: {
        path: [anyService, "^services/(dev|system-tests|bench|chaos)/"],
        pathNot: "^services/dev/(embedded-postgres|nats-server)",
      },
    },
    {
      name: "services-know-no-tooling",
      severity: "error",
      from: { path: anyService, pathNot: tests },
      to: { path: ["^services/(dev|system-tests|bench|chaos)/", "^services/platform/testing/"] },
    },
    {
      name: "stores-know-only-platform",
      comment: "A store holds SQL on one aggregate; it decides nothing and calls nobody above it.",
      severity: "error",
      from: { path: `${anyService}.*\\.store\\.ts$` },
      to: { path: `${anyService}.*\\.(rpc|worker|event)\\.ts$` },
    },
    {
      name: "sql-only-in-stores",
      severity: "error",
      from: { path: anyService, pathNot: ["\\.store\\.ts$", ...tests] },
      to: {
        path: ["^services/platform/postgres/sql\\.ts$", "^node_modules/(slonik|pg)/"],
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "pure-files-do-no-io",
      comment: "A file without a role in its name decides; it neither queries, listens nor reads files.",
      severity: "error",
      from: {
        path: `${anyService}[^/]+/[^/.]+\\.ts$`,
        pathNot: tests,
      },
      to: {
        path: [
          "^services/platform/(postgres|nats|outbox|inbox|grpc|http)/",
          "\\.(store|rpc|worker)\\.ts$",
          "^(node:)?(fs|http|http2|tls)(/|$)",
        ],
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "not-to-unresolvable",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
