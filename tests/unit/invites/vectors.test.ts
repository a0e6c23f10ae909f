import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { encodeHeader, encodePayload } from "../../../main/core/features/invites/codec.ts";
import {
  associatedData,
  confirmMac,
  idKey,
  open,
  proofMac,
  rootKey,
  seal,
  sixDigits,
  stepKey,
  tokenTag,
  transcriptHash,
} from "../../../main/core/features/invites/keys.ts";
import { inviteLink, parseText } from "../../../main/core/features/invites/link.ts";

type Vectors = Record<string, string>;
const file = JSON.parse(
  readFileSync(new URL("../../fixtures/invite-vectors.json", import.meta.url), "utf8"),
) as Vectors;
const v = (name: string): string => {
  const value = file[name];
  if (value === undefined) throw new Error(`no vector ${name}`);
  return value;
};
const hex = (name: string) => Buffer.from(v(name), "hex");
const filled = (byte: number) => Buffer.alloc(32, byte);
const root = rootKey(v("A"), hex("H"), hex("S"));
const envelope = { tag: hex("tid"), transaction: hex("txn") };
const transcript = transcriptHash({
  header: hex("H"),
  inviter: v("A"),
  inviterKey: hex("MA"),
  inviterDevice: { deviceId: "ADEV", ed25519: filled(0x71), curve25519: filled(0x72) },
  joiner: v("B"),
  joinerKey: hex("MB"),
  joinerDevice: { deviceId: "BDEV", ed25519: filled(0x81), curve25519: filled(0x82) },
  transaction: hex("txn"),
  inviterNonce: hex("na"),
  joinerNonce: hex("nb"),
  room: v("room"),
});

test("a code's header, payload and link are those of the vectors", () => {
  const expiresAtMs = hex("H").readUInt32BE(2) * 60_000;
  const header = encodeHeader({
    kind: "group",
    preset: "show",
    expiresAtMs,
    masterKey: hex("MA"),
    label: v("label"),
  });
  expect(Buffer.from(header).toString("hex")).toBe(v("H"));
  const payload = encodePayload(v("A"), header, hex("S"));
  expect(payload).toBe(v("payload_base32"));
  expect(inviteLink(v("A"), payload, "org.example")).toBe(v("link"));
  expect(parseText(v("link"), "org.example")).toMatchObject({
    kind: "invite",
    userId: v("A"),
    code: { kind: "group", preset: "show", label: v("label"), expiresAtMs, masterKey: new Uint8Array(hex("MA")) },
  });
});

test("every key of the schedule is that of the vectors", () => {
  expect(root.toString("hex")).toBe(v("PRK"));
  expect(idKey(root).toString("hex")).toBe(v("K_id"));
  expect(tokenTag(idKey(root), v("B"), v("A")).toString("hex")).toBe(v("tid"));
  for (const step of ["hello", "reply", "proof", "confirm"] as const)
    expect(stepKey(root, step, v("B"), hex("txn")).toString("hex")).toBe(v(`K_${step}`));
});

test("additional data and sealed messages are those of the vectors", () => {
  const hello = associatedData("hello", { ...envelope, sender: v("B"), recipient: v("A") });
  expect(hello.toString("hex")).toBe(v("aad_hello"));
  const reply = associatedData("reply", { ...envelope, sender: v("A"), recipient: v("B") });
  expect(reply.toString("hex")).toBe(v("aad_reply"));
  // length in two bytes, the message, zeros: handshake messages have 768 bytes
  const clear = Buffer.alloc(768);
  clear.writeUInt16BE(v("plaintext").length);
  clear.write(v("plaintext"), 2);
  const sealed = seal(hex("K_hello"), hex("nonce"), hello, clear);
  expect(sealed.subarray(-16).toString("hex")).toBe(v("ciphertext_tail_tag"));
  expect(createHash("sha256").update(sealed).digest("hex")).toBe(v("ciphertext_and_tag_sha256"));
  expect(open(hex("K_hello"), hex("nonce"), hello, sealed)).toEqual(clear);
  expect(open(hex("K_hello"), hex("nonce"), reply, sealed)).toBeUndefined();
});

test("transcript, proofs and digits are those of the vectors", () => {
  expect(transcript.toString("hex")).toBe(v("transcript"));
  expect(proofMac(hex("K_proof"), transcript).toString("hex")).toBe(v("proof_mac"));
  const confirm = confirmMac(hex("K_confirm"), transcript, { result: "ok", verified: true, room: v("room") });
  expect(confirm.toString("hex")).toBe(v("confirm_mac_ok_verified"));
  expect(sixDigits(transcript)).toBe(v("sas6"));
});
