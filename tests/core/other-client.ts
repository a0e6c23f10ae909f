import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import type { Account, Homeserver } from "../homeserver/homeserver.ts";

type Json = Record<string, unknown>;
type Request = { id?: string; type: sdk.RequestType; body: string; event_type?: string; txn_id?: string };
type Server = Pick<Homeserver, "api">;

const paths: Partial<Record<sdk.RequestType, string>> = {
  [sdk.RequestType.KeysUpload]: "v3/keys/upload",
  [sdk.RequestType.KeysQuery]: "v3/keys/query",
  [sdk.RequestType.KeysClaim]: "v3/keys/claim",
};

/**
 * A client of its own on the real homeserver: Rust crypto in memory and bare requests, nothing of the app. For what the app itself
 * does not send. Its messages go to all devices of the users it is told of.
 */
export async function otherClient(server: Server, account: Account) {
  await sdk.initAsync();
  const machine = await sdk.OlmMachine.initialize(new sdk.UserId(account.userId), new sdk.DeviceId(account.deviceId));
  const token = account.accessToken;
  let since: string | undefined;
  let sent = 0;
  const decrypted: { type: string }[] = [];

  const carry = async (request: Request): Promise<void> => {
    const body = JSON.parse(request.body) as Json;
    const path = paths[request.type];
    const answer =
      path === undefined
        ? await server.api<Json>("PUT", `v3/sendToDevice/${request.event_type ?? ""}/${request.txn_id ?? ""}`, {
            token,
            body,
          })
        : await server.api<Json>("POST", path, { token, body });
    if (request.id !== undefined) await machine.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
  };
  const drain = async (): Promise<void> => {
    for (const request of (await machine.outgoingRequests()) as Request[]) await carry(request);
  };

  const sync = async (): Promise<void> => {
    const answer = await server.api<{
      next_batch: string;
      to_device?: { events: unknown[] };
      device_lists?: { changed?: string[]; left?: string[] };
      device_one_time_keys_count?: Record<string, number>;
    }>("GET", "v3/sync", { token, query: { timeout: "0", ...(since === undefined ? {} : { since }) } });
    const users = (ids: string[] = []) => ids.map((id) => new sdk.UserId(id));
    const processed = await machine.receiveSyncChanges(
      JSON.stringify(answer.to_device?.events ?? []),
      new sdk.DeviceLists(users(answer.device_lists?.changed), users(answer.device_lists?.left)),
      new Map(Object.entries(answer.device_one_time_keys_count ?? {})),
      undefined,
      new sdk.DecryptionSettings(sdk.TrustRequirement.Untrusted),
    );
    for (const one of processed)
      if (one instanceof sdk.DecryptedToDeviceEvent) decrypted.push(JSON.parse(one.rawEvent) as { type: string });
    since = answer.next_batch;
    await drain();
  };
  await sync();

  return {
    sync,
    /** Encrypts for all devices of these users and sends; answers the event's id. `hidden`: the relation stands in the ciphertext alone. */
    send: async (
      roomId: string,
      userIds: string[],
      type: string,
      content: Json,
      relation: "in-clear" | "hidden" = "in-clear",
    ): Promise<string> => {
      await sync();
      const users = () => userIds.map((id) => new sdk.UserId(id));
      await machine.updateTrackedUsers(users());
      await drain();
      const claim = (await machine.getMissingSessions(users())) as Request | null | undefined;
      if (claim != null) await carry(claim);
      const settings = new sdk.EncryptionSettings();
      settings.sharingStrategy = sdk.CollectStrategy.allDevices();
      for (const share of (await machine.shareRoomKey(new sdk.RoomId(roomId), users(), settings)) as Request[])
        await carry(share);
      const wire = JSON.parse(
        await machine.encryptRoomEvent(new sdk.RoomId(roomId), type, JSON.stringify(content)),
      ) as Json;
      // a relation stands in clear beside the ciphertext. Source: client-server API, "Encrypted events and relations"
      const relates = relation === "hidden" ? undefined : content["m.relates_to"];
      const path = `v3/rooms/${encodeURIComponent(roomId)}/send/m.room.encrypted/other${++sent}`;
      const { event_id: eventId } = await server.api<{ event_id: string }>("PUT", path, {
        token,
        body: { ...wire, ...(relates === undefined ? {} : { "m.relates_to": relates }) },
      });
      return eventId;
    },
    /** By Olm, for one device, whoever has signed it. */
    sendToDevice: async (userId: string, deviceId: string, type: string, content: Json): Promise<void> => {
      await sync();
      const user = () => new sdk.UserId(userId);
      await machine.updateTrackedUsers([user()]);
      await drain();
      const claim = (await machine.getMissingSessions([user()])) as Request | null | undefined;
      if (claim != null) await carry(claim);
      const device = await machine.getDevice(user(), new sdk.DeviceId(deviceId));
      if (device === undefined) throw new Error("No such device.");
      const wire = JSON.parse(await device.encryptToDeviceEvent(type, content)) as Json;
      await server.api("PUT", `v3/sendToDevice/m.room.encrypted/device${++sent}`, {
        token,
        body: { messages: { [userId]: { [deviceId]: wire } } },
      });
    },
    /** What came by Olm of this type so far. */
    received: async (type: string): Promise<{ type: string }[]> => {
      await sync();
      return decrypted.filter((event) => event.type === type);
    },
    close: () => {
      machine.close();
    },
  };
}
