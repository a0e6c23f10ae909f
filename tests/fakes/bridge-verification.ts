/** Verifications of the fake: the other side does what a test tells it to. */
import type { Handlers } from "../../preload/contract/index.ts";
import type { Flow, FlowState, verificationCommands } from "../../preload/contract/verification.ts";

export type FakeVerification = {
  /** Base64 of the codes that this device shows, and that the other one does. */
  codes: { own: string; theirs: string };
  /** A flow begins, or goes on as told. */
  put(flow: Flow): void;
  /** The flow, all else as it is, in another state. */
  to(flowId: string, state: FlowState): void;
  flow(flowId: string): Flow;
};

type Options = {
  flows: Flow[];
  ownId: string;
  emit: (event: "verification.changed", payload: { flow: Flow }) => void;
  fail: (code: "not-found" | "bad-request") => never;
  roomOf: (userId: string) => string | undefined;
};

/** 122 bytes as a verification's code has them: MATRIX, version 2, a mode, the flow, two keys, a secret. */
export function verificationCode(seed: number): string {
  const bytes = Array.from(
    { length: 122 },
    (_, index) => (Math.imul(index + 1, 2654435761 + seed * 40503) >>> 13) & 0xff,
  );
  const head = [...new TextEncoder().encode("MATRIX"), 2, 0, 0, 24];
  return btoa(String.fromCharCode(...head, ...bytes.slice(head.length)));
}

export const sevenPictures: [string, string][] = [
  ["🐶", "Dog"],
  ["🍕", "Pizza"],
  ["🚀", "Rocket"],
  ["⚓", "Anchor"],
  ["🌵", "Cactus"],
  ["🎩", "Hat"],
  ["🔑", "Key"],
];
export const comparing: FlowState = { at: "comparing", emoji: sevenPictures, decimals: [4821, 1177, 8350] };

export function fakeVerification({ flows, ownId, emit, fail, roomOf }: Options): {
  handlers: Handlers<keyof typeof verificationCommands>;
  fake: FakeVerification;
} {
  const known = new Map(flows.map((flow) => [flow.flowId, flow]));
  let count = 0;
  const found = (flowId: string): Flow => known.get(flowId) ?? fail("not-found");
  const put = (flow: Flow): void => {
    known.set(flow.flowId, flow);
    emit("verification.changed", { flow });
  };
  const to = (flowId: string, state: FlowState): Record<string, never> => {
    put({ ...found(flowId), state });
    return {};
  };
  const codes = { own: verificationCode(1), theirs: verificationCode(2) };
  return {
    fake: { codes, put, to: (flowId, state) => void to(flowId, state), flow: found },
    handlers: {
      "verification.request": ({ userId, deviceId }) => {
        const flowId = `$asked${(count += 1)}`;
        const roomId = userId === ownId ? undefined : roomOf(userId);
        put({
          ...{ flowId, userId, mine: true, methods: ["emoji", "qr-show", "qr-scan"], state: { at: "requested" } },
          requestedAtMs: Date.now(),
          ...(deviceId === undefined ? {} : { deviceId }),
          ...(roomId === undefined ? {} : { roomId }),
        });
        return { flowId };
      },
      "verification.accept": ({ flowId }) => to(flowId, { at: "ready" }),
      "verification.cancel": ({ flowId }) => to(flowId, { at: "cancelled", code: "m.user", byMe: true }),
      "verification.start": ({ flowId }) => to(flowId, comparing),
      "verification.showQr": () => ({ bytes: codes.own }),
      "verification.scanQr": ({ flowId, bytes }) => {
        if (bytes !== codes.theirs) fail("bad-request");
        return to(flowId ?? "", { at: "waiting-for-other" });
      },
      "verification.confirm": ({ flowId, same }) =>
        to(flowId, same ? { at: "waiting-for-other" } : { at: "cancelled", code: "m.mismatched_sas", byMe: true }),
      "verification.list": () => [...known.values()],
    },
  };
}
