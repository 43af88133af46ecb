import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";

// A process of its own that calls GetCurrentUser until its parent tells it to stop: the latencies that an uninvolved
// client sees, without the event loop of the process that makes the load.

const [url = "", token = ""] = process.argv.slice(2);
const auth = createClient(AuthService, createConnectTransport({ baseUrl: url, httpVersion: "2" }));
const headers = { authorization: `Bearer ${token}` };
const latencies: number[] = [];
let isOver = false;
process.once("message", () => {
  isOver = true;
});
await auth.getCurrentUser({}, { headers });
process.send?.("ready");
while (!isOver) {
  const startedMs = performance.now();
  await auth.getCurrentUser({}, { headers });
  latencies.push(performance.now() - startedMs);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
process.send?.(latencies.toSorted((a, b) => a - b));
process.disconnect?.();
