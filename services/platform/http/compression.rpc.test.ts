import { expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService } from "#platform/testing/test-service.ts";

test.each(["gzip", "br"])("a large answer is sent as %s to who accepts it, a small one as it is", async (encoding) => {
  const echo = implementPartly(AuthService, { login: ({ username }) => ({ user: { username } }) });
  await using running = await startTestService({ services: [echo] });
  const answerTo = async (username: string) => {
    const response = await fetch(`${running.url}/decentrastore.auth.v1.AuthService/Login`, {
      method: "POST",
      body: JSON.stringify({ username }),
      headers: { "content-type": "application/json", "accept-encoding": encoding },
    });
    expect(await response.json()).toMatchObject({ user: { username } });
    return response.headers.get("content-encoding");
  };
  expect(await answerTo("ab".repeat(50_000))).toBe(encoding);
  expect(await answerTo("ab")).toBeNull();
});
