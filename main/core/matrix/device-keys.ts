import { DeviceLists, KeysUploadRequest } from "@matrix-org/matrix-sdk-crypto-wasm";
import { isObject, type Json } from "../json.ts";
import { createTurns } from "../in-turn.ts";
import { withFallbackKeyAge, type FallbackKeyAge } from "./crypto-clock.ts";
import type { Crypto, KeyReport } from "./crypto.ts";

/** Who decides when keys leave, and sends them. */
export type UploadPolice = {
  mayLeave: () => boolean;
  /** Sends what of the body is to be sent; answers the count that Rust crypto may act upon, if any. Throws where nothing was accepted. */
  send: (body: Json) => Promise<number | undefined>;
  /** Rust crypto takes the keys for published. */
  settled: () => void;
};

export type DeviceKeyMachine = ReturnType<typeof createDeviceKeyMachine>;

/**
 * Rust crypto's own keys: takes every key upload of the machine into our hands. An upload's answer marks *all* keys as published
 * that exist by then, so between the making of a request and its answer no key may be made (`isUploading`).
 */
export function createDeviceKeyMachine(crypto: Crypto, police: UploadPolice) {
  const { machine, backend, inTurn } = crypto.inner;
  const { outgoingRequestProcessor: processor } = backend.outgoingRequestsManager;
  let built = false;
  let sending = 0;
  /** Making keys and making requests of them never interleave. */
  const alone = createTurns();

  const outgoing = machine.outgoingRequests.bind(machine);
  machine.outgoingRequests = () =>
    alone(async () => {
      const requests = await outgoing();
      const held = !police.mayLeave();
      built = !held && requests.some((request) => request instanceof KeysUploadRequest);
      return held ? requests.filter((request) => !(request instanceof KeysUploadRequest)) : requests;
    });

  const upload = createTurns();
  const send = processor.makeOutgoingRequest.bind(processor);
  processor.makeOutgoingRequest = (request: unknown) => {
    if (!(request instanceof KeysUploadRequest)) return send(request);
    sending++;
    return upload(async () => {
      try {
        const body: unknown = JSON.parse(request.body);
        const count = await police.send(isObject(body) ? body : {});
        const counts = count === undefined ? {} : { signed_curve25519: count };
        await machine.markRequestAsSent(request.id, request.type, JSON.stringify({ one_time_key_counts: counts }));
        police.settled();
      } finally {
        sending--;
        built = false;
      }
    });
  };

  const report = (counts: Map<string, number> | undefined, unused: string[] | undefined) => async () => {
    const types = unused === undefined ? undefined : new Set(unused);
    if (counts === undefined) await machine.receiveSyncChangesMsc4186("[]", new DeviceLists(), new Map(), types);
    else await machine.receiveSyncChanges("[]", new DeviceLists(), counts, types);
  };

  return {
    /** A request with keys was made and is not answered yet. */
    isUploading: (): boolean => built || sending > 0,
    /** All of a sync but its key report; keys that are for the private half of an older key are read before it may be dropped. */
    receive: async (sync: Omit<KeyReport, "counts" | "unusedFallbackKeys">, age: FallbackKeyAge | undefined) => {
      const { toDevice, changed, left } = sync;
      await crypto.receive(
        { toDevice, changed, left, unusedFallbackKeys: undefined },
        age === undefined ? undefined : async (work) => (await withFallbackKeyAge(age, work)).value,
      );
    },
    /**
     * Tells Rust crypto what the server holds; `age` says what its fallback key is to be judged by, `expired` makes it replace it.
     * `done` is false where that was wanted and not possible, or an upload was under way; `madeAtMs`: a key was made, at that time.
     */
    report: (given: {
      count: number | undefined;
      unused: string[] | undefined;
      age: FallbackKeyAge;
    }): Promise<{ done: boolean; madeAtMs?: number }> =>
      inTurn(() =>
        alone(async () => {
          if (built || sending > 0) return { done: false };
          const counts = given.count === undefined ? undefined : new Map([["signed_curve25519", given.count]]);
          const work = report(counts, given.unused);
          const { asked, madeAtMs } = await withFallbackKeyAge(given.age, work);
          return { done: given.age.kind !== "expired" || asked === 1, ...(madeAtMs === undefined ? {} : { madeAtMs }) };
        }),
      ),
  };
}
