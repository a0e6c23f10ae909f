// Longer than most: everything of the wasm verification classes stands in this one file, so that a drift upstream is mended in one place.
import {
  DeviceId,
  EventId,
  OtherUserIdentity,
  OwnUserIdentity,
  Qr,
  QrCodeScan,
  QrState,
  RoomId,
  RoomMessageRequest,
  Sas,
  SignatureUploadRequest,
  ToDeviceRequest,
  UserId,
  VerificationMethod,
  VerificationRequestPhase,
  type VerificationRequest,
} from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { isObject, object, type Json } from "../json.ts";
import type { Crypto } from "./crypto.ts";
import { assertCanSign, assertMasterKey, queryKeys, uploadOf } from "./user-signing.ts";

/** A verification message on its way out, as plain data: who sends it decides how often it is tried. */
export type Outgoing = { type: string; transactionId: string } & (
  { kind: "to-device"; messages: Json } | { kind: "room"; roomId: string; content: Json }
);
/** What Rust crypto says of a flow at this moment; nothing of it is a judgement of ours. */
export type Look = {
  phase: "requested" | "ready" | "transitioned" | "passive" | "done" | "cancelled";
  deviceId?: string;
  /** What the other side can do; unknown until it has said so. */
  theirs?: ("emoji" | "show" | "scan")[];
  chosen?:
    | {
        kind: "emoji";
        shown?: { emoji: [glyph: string, name: string][]; numbers: number[]; decimals: [number, number, number] };
        confirmed: boolean;
        done: boolean;
      }
    | { kind: "qr"; at: "created" | "scanned" | "confirmed" | "reciprocated" | "done" | "cancelled" };
  cancelled?: { code: string; byMe: boolean };
};
export type Handle = ReturnType<typeof handleOf>;
export type VerificationMachine = ReturnType<typeof createVerificationMachine>;
type Hooks = {
  /** Of a sync's to-device events those that the machine may see now; then whether it took them. Neither may wait for anything. */
  toDevice: (events: unknown[]) => { events: unknown[]; done: (taken: boolean) => void };
  /** A message that the machine queued by itself. */
  outgoing: (message: Outgoing) => void;
  /** Signatures that a finished flow made, before they are uploaded. True: the flow answers for them, also when the server refuses. */
  signed: (body: Json) => boolean;
  /** Uploads them; throws where the server refused. */
  upload: (body: Json) => Promise<void>;
};

const ourMethods = () => [
  VerificationMethod.SasV1,
  VerificationMethod.QrCodeScanV1,
  VerificationMethod.QrCodeShowV1,
  VerificationMethod.ReciprocateV1,
];
const nothingNew = {
  deviceLists: { changed: [], left: [] },
  oneTimeKeysCounts: {},
  unusedFallbackKeys: undefined,
  // absent counts mean "unchanged" here and "none left" without it
  useMsc4186: true,
};

/**
 * Rust crypto's verification flows without the SDK's classes around them, whose changes come through weak references and whose
 * methods wait for what may never come. Two of its ways are bent here: messages that the machine queues go to `hooks.outgoing`
 * (the SDK would send them in clear into encrypted rooms), and a refused signature is no success.
 */
export function createVerificationMachine(crypto: Crypto, hooks: Hooks) {
  const { machine, backend, me, inTurn } = crypto.inner;

  const receive = backend.processSyncChanges.bind(backend);
  backend.processSyncChanges = async (changes) => {
    const { events, done } = hooks.toDevice(changes.toDeviceEvents);
    let taken = false;
    try {
      const received = await receive({ ...changes, toDeviceEvents: events });
      taken = true;
      return received;
    } finally {
      done(taken);
    }
  };

  const processor = backend.outgoingRequestsManager.outgoingRequestProcessor;
  const send = processor.makeOutgoingRequest.bind(processor);
  processor.makeOutgoingRequest = async (request) => {
    if (isVerification(request)) {
      const message = outgoingOf(request);
      // it is ours from here on; the answer's content is read by nobody, its shape is
      const answer = request instanceof RoomMessageRequest ? { event_id: "$taken" } : {};
      await machine.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
      hooks.outgoing(message);
    } else if (request instanceof SignatureUploadRequest) {
      const body = uploadOf(request);
      const answeredFor = hooks.signed(body);
      if (!answeredFor) await hooks.upload(body);
      // not sent again at each sync: who answers for it signs anew where it is missing
      if (request.id !== undefined) await machine.markRequestAsSent(request.id, request.type, "{}");
    } else await send(request);
  };

  /** Lets the machine forget what has ended: it would cancel a new request of the same user together with the old one. */
  const forgetEnded = (toDeviceEvents: unknown[] = []) =>
    inTurn(() => receive({ ...nothingNew, toDeviceEvents })).then(() => undefined);

  /** While the machine is not taking a sync. */
  const atRest = <T>(work: () => T): Promise<T> => inTurn(() => Promise.resolve(work()));

  const identityOf = (userId: string) => machine.getIdentity(new UserId(userId));

  return {
    me,
    deviceId: machine.deviceId.toString(),
    forgetEnded,
    atRest,
    processOutgoing: crypto.processOutgoing,
    learnDevices: (userId: string) => queryKeys(crypto, [userId]).then(() => undefined),
    assertCanSign: () => assertCanSign(crypto),
    /** The flow of that id with that user, if the machine took its request. */
    find: (userId: string, flowId: string): Handle | undefined => {
      const request = machine.getVerificationRequest(new UserId(userId), flowId);
      return request === undefined ? undefined : handleOf(request);
    },
    /** A verification event of a room, in clear or decrypted. Its sender's devices are learned first where they are unknown. */
    feed: async (roomId: string, event: { sender: string; content: Json } & Json): Promise<void> => {
      const from = event.content["from_device"];
      if (typeof from === "string") {
        const device = await machine.getDevice(new UserId(event.sender), new DeviceId(from));
        if (device === undefined) await queryKeys(crypto, [event.sender]);
        device?.free();
      }
      await machine.receiveVerificationEvent(JSON.stringify(event), new RoomId(roomId));
    },
    /** The content of a request to another user whose identity the server showed just now. Throws `not-found`, `conflict`. */
    requestContent: async (userId: string): Promise<Json> => {
      await assertCanSign(crypto);
      assertMasterKey(await queryKeys(crypto, [userId]), userId);
      const identity = await identityOf(userId);
      try {
        if (!(identity instanceof OtherUserIdentity)) throw noIdentity();
        const content = JSON.parse(identity.verificationRequestContent(ourMethods())) as unknown;
        if (!isObject(content)) throw new CoreError("unexpected", { message: "Crypto gave no request." });
        // the binding leaves the msgtype out
        return { ...content, msgtype: "m.key.verification.request" };
      } finally {
        identity?.free();
      }
    },
    /** The flow of a request that was sent into the room. */
    requested: async (userId: string, roomId: string, eventId: string): Promise<Handle> => {
      const identity = await identityOf(userId);
      try {
        if (!(identity instanceof OtherUserIdentity)) throw noIdentity();
        return handleOf(identity.requestVerification(new RoomId(roomId), new EventId(eventId), ourMethods()));
      } finally {
        identity?.free();
      }
    },
    /** A request to one of the own devices, or to all signed ones; where none is signed, to all. */
    requestOwn: async (deviceId: string | undefined): Promise<{ handle: Handle; message: Outgoing }> => {
      const answer = await queryKeys(crypto, [me]);
      const others = Object.keys(object(object(answer["device_keys"])?.[me]) ?? {}).filter(
        (id) => id !== machine.deviceId.toString(),
      );
      if (others.length === 0)
        throw new CoreError("not-found", {
          message: "There is no other device.",
          details: { kind: "no-other-device" },
        });
      const identity = await identityOf(me);
      try {
        if (!(identity instanceof OwnUserIdentity))
          throw new CoreError("conflict", {
            message: "Your own identity has to be set up first.",
            details: { kind: "setup-needed" },
          });
        if (deviceId === undefined) {
          const [request, message] = await identity.requestVerification(ourMethods());
          return { handle: handleOf(request), message: outgoingOf(message) };
        }
        const device = await machine.getDevice(new UserId(me), new DeviceId(deviceId));
        if (device === undefined) throw new CoreError("not-found", { message: "There is no such device." });
        try {
          const [request, message] = device.requestVerification(ourMethods());
          return { handle: handleOf(request), message: outgoingOf(message) };
        } finally {
          device.free();
        }
      } finally {
        identity?.free();
      }
    },
  };
}

/** One flow. Holds the wasm objects: the machine's changes reach us through them alone, also after it has forgotten the flow. */
function handleOf(request: VerificationRequest) {
  let chosen: Sas | Qr | undefined;
  // both sides starting at once, or emoji after a code was shown, puts another object in its place
  const latest = () => (chosen = request.getVerification() ?? chosen);
  const sas = () => {
    const now = latest();
    return now instanceof Sas ? now : undefined;
  };
  const qr = () => {
    const now = latest();
    return now instanceof Qr ? now : undefined;
  };
  const messages = (...requests: unknown[]) =>
    requests.flatMap((one) => (isVerification(one) ? [outgoingOf(one)] : []));

  const look = (): Look => {
    const phase = request.isPassive() ? "passive" : phases[request.phase()];
    const now = latest();
    const theirs = request.theirSupportedMethods;
    const deviceId = request.otherDeviceId?.toString();
    const cancelled = request.cancelInfo ?? now?.cancelInfo();
    return {
      phase,
      ...(deviceId === undefined ? {} : { deviceId }),
      ...(theirs === undefined ? {} : { theirs: theirs.flatMap((method) => methodNames.get(method) ?? []) }),
      ...(now === undefined
        ? {}
        : { chosen: now instanceof Sas ? emojiOf(now) : { kind: "qr", at: qrStates[now.state()] } }),
      ...(cancelled === undefined
        ? {}
        : { cancelled: { code: cancelled.cancelCode(), byMe: cancelled.cancelledbyUs() } }),
    };
  };

  return {
    flowId: request.flowId,
    userId: request.otherUserId.toString(),
    roomId: request.roomId?.toString(),
    look,
    accept: () => messages(request.acceptWithMethods(ourMethods())),
    /** The answer to the other's start, which the user has agreed to with the request already. Nothing where none is due. */
    acceptStart: () => messages(sas()?.accept()),
    startEmoji: async () => {
      const started = await request.startSas();
      if (started === undefined) return [];
      chosen = started[0];
      return messages(started[1]);
    },
    /** The code's bytes; undefined where one of the two cannot do this. */
    showCode: async (): Promise<Uint8Array | undefined> => {
      const code = qr()?.state() === QrState.Created ? qr() : await request.generateQrCode();
      chosen = code ?? chosen;
      return code === undefined ? undefined : Uint8Array.from(code.toBytes());
    },
    /** Throws where the code is not that of the other side of this flow. */
    scan: async (bytes: Uint8Array) => {
      const code = await request.scanQrCode(QrCodeScan.fromBytes(Uint8ClampedArray.from(bytes)));
      chosen = code;
      return messages(code.reciprocate());
    },
    /** Where the other side agreed first, its device or identity is signed at once. */
    confirmEmoji: async (): Promise<{ messages: Outgoing[]; signed: Json | undefined }> => {
      const requests: unknown[] = (await sas()?.confirm()) ?? [];
      const signatures = requests.find((one) => one instanceof SignatureUploadRequest);
      return {
        messages: messages(...requests),
        signed: signatures === undefined ? undefined : uploadOf(signatures),
      };
    },
    confirmScanned: () => messages(qr()?.confirmScanning()),
    cancel: (code: string) => {
      const now = latest();
      return code === "m.user" || now === undefined
        ? messages(request.cancel()).map((message) => withCode(message, code))
        : messages(now.cancelWithCode(code) ?? request.cancel());
    },
  };
}

/** The binding cancels a request with `m.user` alone. */
const withCode = (message: Outgoing, code: string): Outgoing => {
  const put = (content: Json) => ({ ...content, code, reason: code });
  if (code === "m.user") return message;
  if (message.kind === "room") return { ...message, content: put(message.content) };
  const messages = Object.entries(message.messages).map(([userId, devices]) => [
    userId,
    Object.fromEntries(
      Object.entries(isObject(devices) ? devices : {}).map(([id, content]) => [
        id,
        put(isObject(content) ? content : {}),
      ]),
    ),
  ]);
  return { ...message, messages: Object.fromEntries(messages) as Json };
};

function emojiOf(sas: Sas): NonNullable<Look["chosen"]> {
  const [emoji, numbers, decimals] = [sas.emoji(), sas.emojiIndex(), sas.decimals()];
  const [a, b, c] = decimals ?? [];
  return {
    kind: "emoji",
    confirmed: sas.haveWeConfirmed(),
    done: sas.isDone(),
    ...(emoji === undefined || numbers === undefined || a === undefined || b === undefined || c === undefined
      ? {}
      : {
          shown: {
            emoji: emoji.map((one): [string, string] => [one.symbol, one.description]),
            numbers: [...numbers],
            decimals: [a, b, c],
          },
        }),
  };
}

const isVerification = (request: unknown): request is RoomMessageRequest | ToDeviceRequest =>
  request instanceof RoomMessageRequest ||
  (request instanceof ToDeviceRequest && request.event_type.startsWith("m.key.verification."));

function outgoingOf(request: RoomMessageRequest | ToDeviceRequest): Outgoing {
  const body = JSON.parse(request.body) as unknown;
  if (!isObject(body)) throw new CoreError("unexpected", { message: "Crypto gave no message." });
  const common = { type: request.event_type, transactionId: request.txn_id };
  if (request instanceof RoomMessageRequest) return { kind: "room", ...common, roomId: request.room_id, content: body };
  return { kind: "to-device", ...common, messages: isObject(body["messages"]) ? body["messages"] : {} };
}

const noIdentity = () =>
  new CoreError("not-found", { message: "They have no identity yet.", details: { kind: "no-identity" } });

const phases: Record<VerificationRequestPhase, Look["phase"]> = {
  [VerificationRequestPhase.Created]: "requested",
  [VerificationRequestPhase.Requested]: "requested",
  [VerificationRequestPhase.Ready]: "ready",
  [VerificationRequestPhase.Transitioned]: "transitioned",
  [VerificationRequestPhase.Done]: "done",
  [VerificationRequestPhase.Cancelled]: "cancelled",
};
const qrStates = {
  [QrState.Created]: "created",
  [QrState.Scanned]: "scanned",
  [QrState.Confirmed]: "confirmed",
  [QrState.Reciprocated]: "reciprocated",
  [QrState.Done]: "done",
  [QrState.Cancelled]: "cancelled",
} as const;
const methodNames = new Map<VerificationMethod, "emoji" | "show" | "scan">([
  [VerificationMethod.SasV1, "emoji"],
  [VerificationMethod.QrCodeShowV1, "show"],
  [VerificationMethod.QrCodeScanV1, "scan"],
]);
