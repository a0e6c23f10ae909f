import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { canonicalJson } from "../../../main/core/matrix/canonical-json.ts";
import type { FaultProxy } from "../../homeserver/fault-proxy.ts";

type Json = Record<string, unknown>;
type Signed = Json & { signatures: Record<string, Record<string, string>> };

const unpadded = (bytes: Buffer) => bytes.toString("base64").replace(/=+$/, "");
const pkcs8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** An Ed25519 key that signs objects as Matrix does (appendices, "Signing JSON"). */
export class Signer {
  readonly publicKey: string;
  private readonly key: KeyObject;

  constructor(seed?: string) {
    this.key =
      seed === undefined
        ? generateKeyPairSync("ed25519").privateKey
        : createPrivateKey({ key: Buffer.concat([pkcs8, Buffer.from(seed, "base64")]), format: "der", type: "pkcs8" });
    const { x } = createPublicKey(this.key).export({ format: "jwk" });
    this.publicKey = unpadded(Buffer.from(x ?? "", "base64url"));
  }

  sign<T extends Json>(value: T, userId: string, keyName = this.publicKey): T & Signed {
    const { signatures: before, unsigned: _, ...bare } = value as Json;
    const signatures = structuredClone((before ?? {}) as Signed["signatures"]);
    const signature = unpadded(sign(null, Buffer.from(canonicalJson(bare)), this.key));
    (signatures[userId] ??= {})[`ed25519:${keyName}`] = signature;
    return { ...value, signatures };
  }
}

const curveKey = () => {
  const { x } = generateKeyPairSync("x25519").publicKey.export({ format: "jwk" });
  return unpadded(Buffer.from(x ?? "", "base64url"));
};

export type MadeUpDevice = {
  deviceId: string;
  curve25519: string;
  ed25519: string;
  /** As keys/query shows it. */
  keys: Json;
  /** As keys/claim gives it; undefined: the device has none left. */
  oneTimeKey?: () => Json;
};
type DeviceKind = { signed?: boolean; oneTimeKeys?: boolean; dehydrated?: boolean };

/** A person whose keys exist in the test alone: the proxy tells the app of them in the server's place. */
export class MadeUpPerson {
  readonly userId: string;
  readonly devices = new Map<string, MadeUpDevice>();
  master: Signer | undefined;
  private selfSigning: Signer | undefined;
  private readonly userSigning = new Signer();
  /** Signs the master key in the app's person's name. */
  private verifiedBy: { userId: string; userSigning: Signer } | undefined;

  constructor(userId: string) {
    this.userId = userId;
  }

  /** A new identity, whatever was before; devices stay as they were signed. */
  newIdentity(): string {
    this.master = new Signer();
    this.selfSigning = new Signer();
    return this.master.publicKey;
  }

  verifyAs(userId: string, userSigning: Signer): void {
    this.verifiedBy = { userId, userSigning };
  }
  unverify(): void {
    this.verifiedBy = undefined;
  }

  addDevice(
    { signed = true, oneTimeKeys = true, dehydrated = false }: DeviceKind = {},
    deviceId?: string,
  ): MadeUpDevice {
    const id = deviceId ?? randomBytes(5).toString("hex").toUpperCase();
    const signer = new Signer();
    const curve25519 = curveKey();
    let keys: Json = signer.sign(
      {
        algorithms: ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        device_id: id,
        user_id: this.userId,
        keys: { [`curve25519:${id}`]: curve25519, [`ed25519:${id}`]: signer.publicKey },
        ...(dehydrated ? { dehydrated: true } : {}),
      },
      this.userId,
      id,
    );
    if (signed && this.selfSigning !== undefined) keys = this.selfSigning.sign(keys, this.userId);
    const device: MadeUpDevice = {
      deviceId: id,
      curve25519,
      ed25519: signer.publicKey,
      keys,
      ...(oneTimeKeys
        ? {
            oneTimeKey: () => ({
              [`signed_curve25519:${randomBytes(4).toString("hex")}`]: signer.sign(
                { key: curveKey() },
                this.userId,
                id,
              ),
            }),
          }
        : {}),
    };
    this.devices.set(id, device);
    return device;
  }

  /** Their part of an answer to keys/query. */
  addTo(answer: Json): void {
    part(answer, "device_keys")[this.userId] = Object.fromEntries(
      [...this.devices].map(([id, device]) => [id, device.keys]),
    );
    if (this.master === undefined || this.selfSigning === undefined) return;
    let masterKey: Json = crossSigningKey(this.userId, "master", this.master.publicKey);
    if (this.verifiedBy !== undefined) masterKey = this.verifiedBy.userSigning.sign(masterKey, this.verifiedBy.userId);
    part(answer, "master_keys")[this.userId] = masterKey;
    part(answer, "self_signing_keys")[this.userId] = this.master.sign(
      crossSigningKey(this.userId, "self_signing", this.selfSigning.publicKey),
      this.userId,
    );
    part(answer, "user_signing_keys")[this.userId] = this.master.sign(
      crossSigningKey(this.userId, "user_signing", this.userSigning.publicKey),
      this.userId,
    );
  }
}

const crossSigningKey = (userId: string, usage: string, key: string): Json => ({
  user_id: userId,
  usage: [usage],
  keys: { [`ed25519:${key}`]: key },
});
const part = (answer: Json, name: string) => (answer[name] ??= {}) as Json;

export type SeenShare = { readers: Set<string>; withheld: Map<string, string> };

/** Puts made-up people's keys into what one app hears of the server, and keeps what it sends to devices. */
export function tellOf(proxy: FaultProxy, made: () => Iterable<MadeUpPerson>) {
  const changed = new Set<string>();
  const seen: SeenShare = { readers: new Set(), withheld: new Map() };
  const byId = () => new Map([...made()].map((person) => [person.userId, person]));
  proxy.on(
    { method: "POST", path: /\/keys\/query$/ },
    {
      kind: "rewrite-response",
      json: (body, exchange) => {
        const asked = Object.keys((JSON.parse(exchange.requestBody.toString()) as { device_keys: Json }).device_keys);
        const answer = body as Json;
        for (const userId of asked) {
          byId().get(userId)?.addTo(answer);
          changed.delete(userId);
        }
        return answer;
      },
    },
  );
  proxy.on(
    { method: "POST", path: /\/keys\/claim$/ },
    {
      kind: "rewrite-response",
      json: (body, exchange) => {
        const asked = (JSON.parse(exchange.requestBody.toString()) as { one_time_keys: Record<string, Json> })
          .one_time_keys;
        const answer = body as Json;
        for (const [userId, devices] of Object.entries(asked))
          for (const deviceId of Object.keys(devices)) {
            const key = byId().get(userId)?.devices.get(deviceId)?.oneTimeKey?.();
            const given = part(answer, "one_time_keys");
            if (key !== undefined) given[userId] = { ...(given[userId] as Json | undefined), [deviceId]: key };
          }
        return answer;
      },
    },
  );
  proxy.on(
    { method: "GET", path: /\/v3\/sync$/ },
    {
      kind: "rewrite-response",
      json: (body) => {
        if (changed.size === 0) return body;
        const answer = body as Json;
        const lists = part(answer, "device_lists");
        // until they are asked about: an answer to a poll that was given up is heard by nobody
        lists["changed"] = [...((lists["changed"] ?? []) as string[]), ...changed];
        return answer;
      },
    },
  );
  proxy.on(
    { method: "PUT", path: /\/sendToDevice\// },
    {
      kind: "rewrite-request",
      json: (body, exchange) => {
        const type = decodeURIComponent(/\/sendToDevice\/([^/]+)\//.exec(exchange.path)?.[1] ?? "");
        for (const [userId, devices] of Object.entries((body as { messages: Record<string, Json> }).messages))
          for (const [deviceId, content] of Object.entries(devices)) {
            const name = `${userId}|${deviceId}`;
            if (type === "m.room.encrypted") seen.readers.add(name);
            else if (type === "m.room_key.withheld") seen.withheld.set(name, String((content as Json)["code"]));
          }
        return body;
      },
    },
  );
  return {
    seen,
    /** The next sync says that their keys changed. */
    change: (...userIds: string[]) => {
      for (const userId of userIds) changed.add(userId);
    },
    clear: () => {
      seen.readers.clear();
      seen.withheld.clear();
    },
  };
}
