import { randomBytes } from "node:crypto";
import {
  associatedData,
  idKey,
  open,
  rootKey,
  seal,
  stepKey,
  tokenTag,
} from "../../../main/core/features/invites/keys.ts";
import { parseText } from "../../../main/core/features/invites/link.ts";
import {
  messageTypes,
  outerSchema,
  pad,
  read,
  toBase64,
  unpad,
  wire,
} from "../../../main/core/features/invites/messages.ts";
import { isObject, type Json } from "../../../main/core/json.ts";
import type { Letter } from "./world.ts";

/** What whoever holds the code can read of a message that passed in clear. */
export function opened(letter: Letter, link: string): Json | undefined {
  const code = parseText(link);
  const outer = read(outerSchema, letter.content);
  if (code.kind !== "invite" || outer === undefined) return undefined;
  const root = rootKey(code.userId, code.code.header, code.code.secret);
  for (const step of ["hello", "reply"] as const) {
    const joiner = step === "hello" ? letter.sender : letter.userId;
    const { sender, userId: recipient } = letter;
    const aad = associatedData(step, { sender, recipient, tag: outer.t, transaction: outer.x });
    const clear = open(stepKey(root, step, joiner, outer.x), outer.n, aad, outer.c);
    const message = clear === undefined ? undefined : unpad(clear);
    if (isObject(message)) return message;
  }
  return undefined;
}
/** A HELLO of anybody who holds the code, with whatever they like in it. */
export function forgedHello(link: string, from: string, deviceId: string, more: Json = {}): Letter {
  const code = parseText(link);
  if (code.kind !== "invite") throw new Error("no code");
  const root = rootKey(code.userId, code.code.header, code.code.secret);
  const [x, n, tag] = [randomBytes(16), randomBytes(12), tokenTag(idKey(root), from, code.userId)];
  const key32 = toBase64(randomBytes(32));
  const hello = {
    s: "hello",
    from,
    to: code.userId,
    dev: { id: "EVEDEV", ed: key32, curve: key32 },
    msk: key32,
    nb: toBase64(randomBytes(16)),
    knd: "dm",
    ...more,
  };
  const aad = associatedData("hello", { sender: from, recipient: code.userId, tag, transaction: x });
  const c = seal(stepKey(root, "hello", from, x), n, aad, pad(JSON.stringify(hello)));
  return {
    sender: from,
    userId: code.userId,
    deviceId,
    type: messageTypes.open,
    content: wire({ v: 1, t: tag, x, n, c }),
  };
}
