import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { type Identity, isCaOfJoinToken, readIfThere, writeWhole } from "./identity.ts";

/** What a node needs for mutual TLS with the node edge. */
export interface Credentials {
  readonly certificatePem: string;
  readonly caCertificatePem: string;
}

export interface EnrollmentOptions {
  readonly folder: string;
  readonly identity: Identity;
  readonly registryUrl: string;
  readonly joinToken: string;
  readonly address: { host: string; port: number };
  readonly capacityGb: number;
  readonly region: string | undefined;
}

/** The credentials kept from an earlier start. */
export async function readCredentials(folder: string): Promise<Credentials | undefined> {
  const [certificatePem, caCertificatePem] = await Promise.all([
    readIfThere(join(folder, "certificate.pem")),
    readIfThere(join(folder, "ca.pem")),
  ]);
  if (certificatePem === undefined || caCertificatePem === undefined) return undefined;
  return { certificatePem, caCertificatePem };
}

export async function keepCredentials(folder: string, credentials: Credentials): Promise<void> {
  await writeWhole(join(folder, "ca.pem"), credentials.caCertificatePem);
  await writeWhole(join(folder, "certificate.pem"), credentials.certificatePem);
}

/** Joins the network, or rejoins it with the same key. */
export async function enroll(options: EnrollmentOptions): Promise<Credentials> {
  const transport = createConnectTransport({ baseUrl: options.registryUrl, httpVersion: "1.1" });
  const answer = await createClient(EnrollmentService, transport).enrollNode({
    joinToken: options.joinToken,
    csrPem: await options.identity.certificateRequest(),
    address: options.address,
    capacityGb: options.capacityGb,
    softwareVersion: "sample-node/1.0.0",
    ...(options.region === undefined ? {} : { region: options.region }),
  });
  if (!isCaOfJoinToken(answer.caCertificatePem, options.joinToken)) {
    throw new Error("the registry's CA is not the one that the join token names: this is another network");
  }
  const credentials = { certificatePem: answer.certificatePem, caCertificatePem: answer.caCertificatePem };
  await keepCredentials(options.folder, credentials);
  return credentials;
}
