import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";

type Json = Record<string, unknown>;
interface KeyUpload {
  device_keys?: Json;
  one_time_keys?: Json;
}
interface OutgoingRequest {
  id?: string | undefined;
  type: sdk.RequestType;
  body?: string;
}

/** What a machine asks of it: every kind of request has these, some more. */
interface ToDevice extends OutgoingRequest {
  event_type: string;
  body: string;
}

interface Account {
  machine: sdk.OlmMachine;
  devices: Map<string, Json>;
  oneTimeKeys: Map<string, Map<string, unknown>>;
  crossSigning: Json;
}

interface Device {
  inbox: Json[];
  machine: sdk.OlmMachine;
}

const noKeysLost = new Map([["signed_curve25519", 50]]);
const decryptionSettings = (): sdk.DecryptionSettings => new sdk.DecryptionSettings(sdk.TrustRequirement.Untrusted);

/**
 * Carries requests between machines in one process: stores what is uploaded, answers queries and claims, delivers
 * to-device messages. It runs in Node and in a page alike.
 */
export class Transport {
  private readonly accounts = new Map<string, Account>();
  private readonly devices = new Map<string, Device>();

  /** Adds a device, or replaces its machine after a reopen. */
  attach(machine: sdk.OlmMachine): void {
    const user = machine.userId.toString();
    const device = machine.deviceId.toString();
    const account = this.accounts.get(user);
    if (account) account.machine = machine;
    else this.accounts.set(user, { machine, devices: new Map(), oneTimeKeys: new Map(), crossSigning: {} });
    const known = this.devices.get(`${user}/${device}`);
    if (known) known.machine = machine;
    else this.devices.set(`${user}/${device}`, { inbox: [], machine });
  }

  /** Sends what the machine wants to send until it has nothing left, and answers how much it was. */
  async drain(machine: sdk.OlmMachine): Promise<number> {
    for (let sent = 0; ;) {
      const requests = (await machine.outgoingRequests()) as OutgoingRequest[];
      if (requests.length === 0) return sent;
      sent += requests.length;
      for (const request of requests) await this.send(machine, request);
    }
  }

  async send(machine: sdk.OlmMachine, request: OutgoingRequest): Promise<void> {
    const answer = this.answer(machine.userId.toString(), machine.deviceId.toString(), request);
    if (request.id !== undefined) await machine.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
  }

  /** Gives a machine what has come for it, in one sync. */
  async deliver(machine: sdk.OlmMachine, changed: string[] = []): Promise<sdk.ProcessedToDeviceEvent[]> {
    const device = this.deviceOf(machine.userId.toString(), machine.deviceId.toString());
    const events = device.inbox.splice(0);
    const lists = new sdk.DeviceLists(changed.map((user) => new sdk.UserId(user)));
    return machine.receiveSyncChanges(JSON.stringify(events), lists, noKeysLost, undefined, decryptionSettings());
  }

  /** Lets both sides send and receive until nothing is on the way. */
  async settle(...machines: sdk.OlmMachine[]): Promise<void> {
    for (let isQuiet = false; !isQuiet;) {
      isQuiet = true;
      for (const machine of machines) {
        if ((await this.drain(machine)) > 0) isQuiet = false;
        if (this.pendingFor(machine) > 0) {
          isQuiet = false;
          await this.deliver(machine);
        }
      }
    }
  }

  pendingFor(machine: sdk.OlmMachine): number {
    return this.deviceOf(machine.userId.toString(), machine.deviceId.toString()).inbox.length;
  }

  publishCrossSigning(user: string, keys: Json): void {
    Object.assign(this.accountOf(user).crossSigning, keys);
  }

  private answer(user: string, device: string, request: OutgoingRequest): Json {
    const body = JSON.parse(request.body ?? "{}") as Json;
    switch (request.type) {
      case sdk.RequestType.KeysUpload:
        return this.upload(user, device, body);
      case sdk.RequestType.KeysQuery:
        return this.query(body);
      case sdk.RequestType.KeysClaim:
        return this.claim(body);
      case sdk.RequestType.ToDevice:
        this.sendToDevice(user, request as ToDevice);
        return {};
      case sdk.RequestType.SignatureUpload:
        this.sign(body);
        return { failures: {} };
      case sdk.RequestType.KeysBackup:
        return { count: 0, etag: "1" };
      default:
        throw new Error(`the transport does not know request ${request.type}`);
    }
  }

  private upload(user: string, device: string, { device_keys, one_time_keys }: KeyUpload): Json {
    const account = this.accountOf(user);
    if (device_keys) account.devices.set(device, device_keys);
    const keys = account.oneTimeKeys.get(device) ?? new Map<string, unknown>();
    for (const [id, key] of Object.entries(one_time_keys ?? {})) keys.set(id, key);
    account.oneTimeKeys.set(device, keys);
    return { one_time_key_counts: { signed_curve25519: keys.size } };
  }

  private query(body: Json): Json {
    const answer: Record<string, Json> = {
      device_keys: {},
      master_keys: {},
      self_signing_keys: {},
      user_signing_keys: {},
    };
    for (const user of Object.keys(body.device_keys as Json)) {
      const account = this.accounts.get(user);
      if (!account) continue;
      Object.assign(answer.device_keys ?? {}, { [user]: Object.fromEntries(account.devices) });
      for (const [kind, key] of Object.entries(account.crossSigning)) {
        Object.assign(answer[`${kind}s`] ?? {}, { [user]: key });
      }
    }
    return answer;
  }

  private claim(body: Json): Json {
    const claimed: Record<string, Json> = {};
    for (const [user, devices] of Object.entries(body.one_time_keys as Record<string, Json>)) {
      for (const device of Object.keys(devices)) {
        const keys = this.accountOf(user).oneTimeKeys.get(device);
        const [first] = keys ?? [];
        if (!first) continue;
        keys?.delete(first[0]);
        claimed[user] = { ...claimed[user], [device]: { [first[0]]: first[1] } };
      }
    }
    return { one_time_keys: claimed, failures: {} };
  }

  private sendToDevice(sender: string, request: ToDevice): void {
    const { messages } = JSON.parse(request.body) as { messages: Record<string, Json> };
    for (const [user, devices] of Object.entries(messages)) {
      for (const [device, content] of Object.entries(devices)) {
        const targets = device === "*" ? [...this.accountOf(user).devices.keys()] : [device];
        for (const target of targets) {
          this.devices.get(`${user}/${target}`)?.inbox.push({ sender, type: request.event_type, content });
        }
      }
    }
  }

  private sign(body: Json): void {
    for (const [user, objects] of Object.entries(body as Record<string, Record<string, Json>>)) {
      const account = this.accountOf(user);
      for (const [id, signed] of Object.entries(objects)) {
        const target = account.devices.get(id) ?? (account.crossSigning.master_key as Json | undefined);
        if (target) mergeSignatures(target, signed);
      }
    }
  }

  private accountOf(user: string): Account {
    const account = this.accounts.get(user);
    if (!account) throw new Error("no such account");
    return account;
  }

  private deviceOf(user: string, device: string): Device {
    const known = this.devices.get(`${user}/${device}`);
    if (!known) throw new Error("no such device");
    return known;
  }
}

function mergeSignatures(target: Json, signed: Json): void {
  const signatures = (target.signatures ??= {}) as Record<string, Json>;
  for (const [signer, keys] of Object.entries((signed.signatures ?? {}) as Record<string, Json>)) {
    signatures[signer] = { ...signatures[signer], ...keys };
  }
}

/** Makes the machines know each other and gives the first Olm sessions with the others. */
export async function introduce(
  transport: Transport,
  from: sdk.OlmMachine,
  ...others: sdk.OlmMachine[]
): Promise<void> {
  for (const machine of [from, ...others]) {
    transport.attach(machine);
    await transport.drain(machine);
  }
  const users = [from, ...others].map((machine) => machine.userId.toString());
  for (const machine of [from, ...others]) {
    await machine.updateTrackedUsers(users.map((user) => new sdk.UserId(user)));
    await transport.drain(machine);
  }
  const claim = await from.getMissingSessions(others.map((machine) => new sdk.UserId(machine.userId.toString())));
  if (claim) await transport.send(from, claim);
}

/** Shares the room's key and encrypts; answers the event as a sync would bring it. */
export async function encryptIn(
  machine: sdk.OlmMachine,
  transport: Transport,
  room: string,
  members: string[],
  body: string,
): Promise<string> {
  await shareIn(machine, transport, room, members);
  return encryptEvent(machine, room, body);
}

export async function shareIn(
  machine: sdk.OlmMachine,
  transport: Transport,
  room: string,
  members: string[],
): Promise<void> {
  const settings = new sdk.EncryptionSettings();
  settings.sharingStrategy = sdk.CollectStrategy.allDevices();
  settings.rotationPeriodMessages = 10_000n;
  const users = members.map((user) => new sdk.UserId(user));
  for (const request of await machine.shareRoomKey(new sdk.RoomId(room), users, settings)) {
    await transport.send(machine, request);
  }
}

let eventCount = 0;

export async function encryptEvent(machine: sdk.OlmMachine, room: string, body: string): Promise<string> {
  const message = JSON.stringify({ msgtype: "m.text", body });
  const content = await machine.encryptRoomEvent(new sdk.RoomId(room), "m.room.message", message);
  return JSON.stringify({
    type: "m.room.encrypted",
    event_id: `$event${eventCount++}`,
    room_id: room,
    sender: machine.userId.toString(),
    origin_server_ts: 1_700_000_000_000,
    content: JSON.parse(content) as unknown,
  });
}

/** Decrypts and answers the message's body. */
export async function decryptEvent(machine: sdk.OlmMachine, room: string, event: string): Promise<string> {
  const decrypted = await machine.decryptRoomEvent(event, new sdk.RoomId(room), decryptionSettings());
  return (JSON.parse(decrypted.event) as { content: { body: string } }).content.body;
}
