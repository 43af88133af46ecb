import type { DevFile } from "./dev-file.ts";
import type { Home } from "./home.ts";
import type { Settings } from "./settings.ts";

/** What a newcomer needs to see once everything is up. */
export function addressTable(devFile: DevFile, settings: Settings, home: Home, tookMs: number): string {
  const { auth, "user-quota": userQuota, "node-registry": nodeRegistry } = settings.ports;
  const rows = [
    ["auth", devFile.authUrl, `ops http://127.0.0.1:${auth.opsPort}`],
    ["user-quota", devFile.userQuotaUrl, `ops http://127.0.0.1:${userQuota.opsPort}`],
    ["node-registry", devFile.nodeRegistryUrl, `ops http://127.0.0.1:${nodeRegistry.opsPort}`],
    ["node edge", devFile.nodeEdgeAddress, "gRPC with mutual TLS, for storage nodes"],
    ["postgres", withoutPassword(devFile.databaseUrl), devFile.pids.postgres ? "embedded" : "external"],
    ["nats", withoutPassword(devFile.natsUrl), devFile.pids.nats ? "embedded" : "external"],
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return [
    "",
    ...lines.map((line) => `  ${line}`),
    "",
    `  ready in ${(tookMs / 1000).toFixed(1)} s; addresses and credentials: ${home.path("dev.json")}`,
    `  logs: ${home.path("logs")}`,
    "  next: npm run dev:node -- --count 3, npm run dev:upload -- FILE, npm run events; Ctrl-C stops everything",
    "",
  ].join("\n");
}

function withoutPassword(address: string): string {
  const url = new URL(address);
  url.password = "";
  return url.toString();
}
