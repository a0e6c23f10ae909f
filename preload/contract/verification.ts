import * as v from "valibot";
import { command } from "./define.ts";
import { base64Bytes, deviceId, empty, userId } from "./ids.ts";
import type { Secret } from "./trust.ts";

export type FlowState =
  | { at: "requested" }
  | { at: "ready" }
  /** The other has scanned our code: "does the other device show a tick?" */
  | { at: "qr-scanned" }
  /** Names in English; `emojiNumbers` (0 to 63, by the specification's table) are what to translate and compare by. */
  | {
      at: "comparing";
      emoji: [glyph: string, name: string][];
      emojiNumbers?: number[];
      decimals: [number, number, number];
    }
  | { at: "waiting-for-other" }
  /** Both said yes; what has not arrived yet. After two minutes another way out (recovery) is worth offering. */
  | { at: "settling"; missing: ("signature" | Secret)[]; settlingSinceMs?: number }
  | { at: "done" }
  | { at: "cancelled"; code: string; byMe: boolean };
export type Flow = {
  /** The request's transaction or event id, the same on both sides. */
  flowId: string;
  userId: string;
  deviceId?: string;
  /** Begun by this device. */
  mine: boolean;
  methods: ("emoji" | "qr-show" | "qr-scan")[];
  state: FlowState;
  /** When the request was made. */
  requestedAtMs: number;
  /** The direct chat of a verification between users. */
  roomId?: string;
  /** Both asked at once: the flow that goes on in this one's place. */
  replacedBy?: string;
};

const flowId = v.pipe(v.string(), v.minLength(1), v.maxBytes(255));
const oneFlow = v.strictObject({ flowId });
const nothing = command<Record<string, never>>();

/** Source: client-server API, "Device verification". */
export const verificationCommands = {
  /**
   * Of another user, in the direct chat (made where there is none), or of one's own devices: one by its name, or all that are signed
   * (where none is: all). `details.kind`: `no-identity` (theirs), `no-other-device`, `setup-needed` (ours).
   */
  "verification.request": command<{ flowId: string }>()(v.strictObject({ userId, deviceId: v.optional(deviceId) })),
  "verification.accept": nothing(oneFlow),
  "verification.cancel": nothing(oneFlow),
  "verification.start": nothing(v.strictObject({ flowId, method: v.literal("emoji") })),
  /** 122 raw bytes beginning MATRIX. */
  "verification.showQr": command<{ bytes: string }>()(oneFlow),
  /** `details.kind` says what is wrong with a code; the flow goes on, and another can be scanned. */
  "verification.scanQr": nothing(v.strictObject({ flowId: v.optional(flowId), bytes: base64Bytes })),
  /** The emoji are equal; or the other device shows a tick. */
  "verification.confirm": nothing(v.strictObject({ flowId, same: v.boolean() })),
  "verification.list": command<Flow[]>()(empty),
};

export type VerificationEvents = { "verification.changed": { flow: Flow } };
