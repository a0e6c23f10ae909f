import { DeviceId, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { createTurns } from "../in-turn.ts";
import { text } from "../json.ts";
import { log } from "../log.ts";
import type { Crypto, ToDevice } from "./crypto.ts";

export type KeyRequests = ReturnType<typeof createKeyRequests>;

/** A request is held this long for its device to become verified here, and so many of them. */
const heldMs = 600_000;
const mostHeld = 500;

/**
 * Keys asked of one's own devices, and given to them. The SDK switches the asking off; here it is on. Rust crypto asks once for each
 * session that it could not decrypt with, and only where another own device is verified; it answers verified own devices alone.
 * Source: client-server API, "Key requests".
 */
export function createKeyRequests(crypto: Crypto, nowMs: () => number) {
  const { machine, http, me } = crypto.inner;
  const mine = machine.deviceId.toString();
  machine.roomKeyRequestsEnabled = true;
  machine.roomKeyForwardingEnabled = true;
  let held: { event: ToDevice; deviceId: string; untilMs: number }[] = [];

  const isVerified = async (deviceId: string): Promise<boolean> => {
    const device = await machine.getDevice(new UserId(me), new DeviceId(deviceId));
    const verified = device?.isVerified() === true;
    device?.free();
    return verified;
  };

  /**
   * Whoever has just become verified asks at once, and the request overtakes the answer that says so to us: Rust crypto refuses it and
   * forgets it. So it is kept for a while, and handed in again when own devices have changed.
   */
  const hold = async (events: ToDevice[]): Promise<void> => {
    held = held.filter((one) => one.untilMs > nowMs());
    for (const event of events) {
      const deviceId = text(event.content["requesting_device_id"]);
      const isRequest = event.type === "m.room_key_request" && event.content["action"] === "request";
      if (!isRequest || event.sender !== me || deviceId === undefined || deviceId === mine) continue;
      if (held.length < mostHeld && !(await isVerified(deviceId)))
        held.push({ event, deviceId, untilMs: nowMs() + heldMs });
    }
  };
  const handIn = async (): Promise<void> => {
    const now: ToDevice[] = [];
    for (const one of [...held])
      if (await isVerified(one.deviceId)) {
        held = held.filter((other) => other !== one);
        if (one.untilMs > nowMs()) now.push(one.event);
      }
    if (now.length === 0) return;
    await crypto.receive({ toDevice: now, changed: [], left: [], unusedFallbackKeys: undefined });
    await crypto.processOutgoing();
  };
  const inTurn = createTurns();
  const inOrder = (what: () => Promise<void>) => {
    inTurn(what).catch((error: unknown) => {
      log.warn("a key request could not be looked at again", error);
    });
  };
  const ownChanged = (userIds: string[]) => {
    if (userIds.includes(me) && held.length > 0) inOrder(handIn);
  };
  const untell = [
    crypto.onToDevice((events) => {
      if (events.some((event) => event.type === "m.room_key_request")) inOrder(() => hold(events).then(handIn));
    }),
    crypto.onDevices(ownChanged),
    crypto.onIdentities(ownChanged),
  ];

  return {
    /** Whether there is another own device that would answer. */
    canAsk: async (): Promise<boolean> => {
      const devices = await machine.getUserDevices(new UserId(me));
      let verified = false;
      for (const device of devices.devices()) {
        if (device.deviceId.toString() !== mine && device.isVerified()) verified = true;
        device.free();
      }
      devices.free();
      return verified;
    },
    /** Sends what Rust crypto wants to ask; false where a request did not reach the server, and will be sent again later. */
    send: async (): Promise<boolean> => {
      let refused = false;
      const untap = http.tap(({ path, ok }) => {
        if (!ok && path.includes("/sendToDevice/m.room_key_request/")) refused = true;
      });
      try {
        await crypto.processOutgoing();
      } finally {
        untap();
      }
      return !refused;
    },
    stop: () => {
      for (const remove of untell) remove();
      held = [];
    },
  };
}
