import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { recordNodeChanges } from "./changes.store.ts";
import type { NodeRecord } from "./node-record.ts";
import type { NodeTable } from "./node-table.ts";
import { updateProfile } from "./nodes.store.ts";

export interface Profile {
  readonly address?: { readonly host: string; readonly port: number } | undefined;
  readonly softwareVersion?: string | undefined;
}

/** What a node declares about itself with a heartbeat; repeating what is known changes nothing. */
export async function setProfile(
  deps: { readonly pool: Pool; readonly outbox: Outbox; readonly view: NodeTable },
  node: NodeRecord,
  profile: Profile,
): Promise<void> {
  const address = profile.address ?? node.address;
  const softwareVersion = profile.softwareVersion ?? node.softwareVersion;
  if (!differs(node, address, softwareVersion)) return;
  const records = await transact(deps, async (tx) => {
    const isChanged = await updateProfile(tx, node.rowId, address, softwareVersion);
    return isChanged ? recordNodeChanges(tx, [node.rowId]) : [];
  });
  for (const record of records) deps.view.put(record);
}

export function isProfileChange(node: NodeRecord, profile: Profile): boolean {
  return differs(node, profile.address ?? node.address, profile.softwareVersion ?? node.softwareVersion);
}

function differs(node: NodeRecord, address: NodeRecord["address"], softwareVersion: string): boolean {
  return (
    address.host !== node.address.host || address.port !== node.address.port || softwareVersion !== node.softwareVersion
  );
}
