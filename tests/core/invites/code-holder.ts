import { randomBytes } from "node:crypto";
import {
  proofMac,
  rootKey,
  stepKey,
  tokenTag,
  idKey,
  transcriptHash,
  type DeviceKeys,
} from "../../../main/core/features/invites/keys.ts";
import { parseText } from "../../../main/core/features/invites/link.ts";
import {
  helloSchema,
  messageTypes,
  read,
  replySchema,
  toBase64,
  wire,
} from "../../../main/core/features/invites/messages.ts";
import { object, text, type Json } from "../../../main/core/json.ts";
import type { Exchange, FaultProxy } from "../../homeserver/fault-proxy.ts";
import type { Account, Homeserver } from "../../homeserver/homeserver.ts";
import { forgedHello, opened } from "../../unit/invites/wire.ts";
import type { Letter } from "../../unit/invites/world.ts";
import { otherClient } from "../other-client.ts";

export const isOpen = { method: "PUT", path: /\/sendToDevice\/chat\.tessera\.securejoin\// };
/** PROOF: what the joiner's outbox sends by Olm. */
export const isProof = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\/j/ };
/** CONFIRM: what the inviter's does. */
export const isConfirm = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\/i/ };
export const isQuery = { method: "POST", path: /\/keys\/query$/ };
export const isSignatures = { method: "POST", path: /\/keys\/signatures\/upload$/ };

/** What this person's device has sent to the server of signatures for somebody. */
export const signaturesFor = ({ proxy }: { proxy: FaultProxy }, userId: string): Exchange[] =>
  proxy.seen(isSignatures).filter((one) => one.requestBody.includes(userId));

let puts = 0;
/** What anybody with an account may send to anybody's devices. */
export const put = (
  server: Pick<Homeserver, "api">,
  from: Account,
  type: string,
  to: { userId: string; deviceId: string },
  content: Json,
): Promise<unknown> =>
  server.api("PUT", `v3/sendToDevice/${type}/put${++puts}`, {
    token: from.accessToken,
    body: { messages: { [to.userId]: { [to.deviceId]: content } } },
  });

/** The messages in what this person put to others' devices. */
export const lettersIn = (sender: string, exchanges: Exchange[]): Letter[] =>
  exchanges.flatMap(({ path, requestBody }) => {
    const type = decodeURIComponent(/\/sendToDevice\/([^/]+)\//.exec(path)?.[1] ?? "");
    const users = Object.entries(object(object(JSON.parse(String(requestBody)))?.["messages"]) ?? {});
    return users.flatMap(([userId, devices]) =>
      Object.entries(object(devices) ?? {}).map(([deviceId, content]) => ({
        ...{ sender, userId, deviceId, type },
        content: object(content) ?? {},
      })),
    );
  });

export async function keysOf(server: Pick<Homeserver, "api">, { accessToken, userId, deviceId }: Account) {
  const answer = await server.api<Json>("POST", "v3/keys/query", {
    token: accessToken,
    body: { device_keys: { [userId]: [deviceId] } },
  });
  const keys = object(object(object(object(answer["device_keys"])?.[userId])?.[deviceId])?.["keys"]);
  const raw = (name: string) => new Uint8Array(Buffer.from(text(keys?.[`${name}:${deviceId}`]) ?? "", "base64"));
  return { deviceId, ed25519: raw("ed25519"), curve25519: raw("curve25519") };
}

/** Somebody who holds a code and says whatever they like with it: a device of its own, real Olm, and no rule of the app. */
export async function codeHolder(server: Pick<Homeserver, "api">, account: Account, link: string) {
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  const { userId: inviter } = parsed;
  const { header, secret } = parsed.code;
  const root = rootKey(inviter, header, secret);
  const client = await otherClient(server, account);
  const own = await keysOf(server, account);
  const deviceWire = ({ deviceId, ed25519, curve25519 }: DeviceKeys) => ({
    ...{ id: deviceId, ed: toBase64(ed25519), curve: toBase64(curve25519) },
  });

  return {
    own,
    hello: async (more: Json = {}): Promise<Json> => {
      const { content } = forgedHello(link, account.userId, "*", { dev: deviceWire(own), ...more });
      await put(server, account, messageTypes.open, { userId: inviter, deviceId: "*" }, content);
      return content;
    },
    /** Says HELLO; what the inviter answers, as it leaves through her proxy. */
    answered: async function (proxy: FaultProxy, more: Json = {}) {
      const content = await this.hello(more);
      const x = text(content["x"]) ?? "";
      const reply = await proxy.waitFor({ ...isOpen, when: (one) => one.requestBody.includes(x) });
      const [letter] = lettersIn(inviter, [reply]);
      const said = read(replySchema, letter === undefined ? undefined : opened(letter, link));
      const hello = read(
        helloSchema,
        opened({ sender: account.userId, userId: inviter, deviceId: "*", type: "", content }, link),
      );
      if (said === undefined || hello === undefined) throw new Error("no REPLY");
      return {
        x: new Uint8Array(Buffer.from(x, "base64")),
        nb: hello.nb,
        na: said.na,
        inviterKey: said.msk,
        inviterDevice: said.dev,
      };
    },
    /** A PROOF by Olm with a right MAC over these claims. */
    prove: async (
      exchange: { x: Uint8Array; nb: Uint8Array; na: Uint8Array; inviterKey: Uint8Array; inviterDevice: DeviceKeys },
      claims: { masterKey?: Uint8Array; device?: DeviceKeys } = {},
    ): Promise<void> => {
      const { x, nb, na, inviterKey, inviterDevice } = exchange;
      const { masterKey = randomBytes(32), device = own } = claims;
      const transcript = transcriptHash({
        ...{ header, inviter, inviterKey, inviterDevice, joiner: account.userId, joinerKey: masterKey },
        ...{ joinerDevice: device, transaction: x, inviterNonce: na, joinerNonce: nb, room: "" },
      });
      const content = wire({
        ...{ v: 1, t: tokenTag(idKey(root), account.userId, inviter), x, na, nb, knd: "dm", dev: device },
        ...{ msk: masterKey, mac: proofMac(stepKey(root, "proof", account.userId, x), transcript) },
      });
      await client.sendToDevice(inviter, inviterDevice.deviceId, messageTypes.proof, content);
    },
    close: client.close,
  };
}
