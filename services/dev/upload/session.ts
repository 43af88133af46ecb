import { randomBytes } from "node:crypto";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { z } from "zod";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import type { DevFile } from "../start/dev-file.ts";
import { homeFolder, readJson, writePrivately } from "../start/home.ts";

export interface Session {
  readonly userId: string;
  readonly userToken: string;
}

export function transportTo(baseUrl: string, token?: string) {
  const bearer: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  return createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [bearer] });
}

const keptUser = z.object({ username: z.string(), password: z.string() });

/** Registers the user, or logs it in where it exists. Without a password the demo user's own is made and kept. */
export async function signIn(network: DevFile, username: string, given: string | undefined): Promise<Session> {
  const client = createClient(AuthService, transportTo(network.authUrl));
  const password = given ?? (await demoPassword(username));
  try {
    const { user, tokens } = await client.register({ username, password });
    return { userId: user?.userId ?? "", userToken: tokens?.accessToken ?? "" };
  } catch (error) {
    if (ConnectError.from(error).code !== Code.AlreadyExists) throw error;
  }
  const { user, tokens } = await client.login({ username, password });
  return { userId: user?.userId ?? "", userToken: tokens?.accessToken ?? "" };
}

async function demoPassword(username: string): Promise<string> {
  const path = `${homeFolder(process.env)}/upload-${encodeURIComponent(username)}.json`;
  const kept = await readJson(path, keptUser);
  if (kept !== undefined) return kept.password;
  const password = randomBytes(18).toString("base64url");
  await writePrivately(path, { username, password });
  return password;
}

/** A token of the local network's service client, as an upload gateway would hold one. */
export async function gatewayToken(network: DevFile): Promise<string> {
  const { accessToken } = await createClient(TokenService, transportTo(network.authUrl)).issueServiceToken(
    network.serviceClient,
  );
  return accessToken;
}
