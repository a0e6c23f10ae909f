/** The account's own devices, and what one does with them. Also tells when a new one signed in. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Device } from "../../../../preload/contract/devices.ts";
import { call, failureOf, on } from "../../bridge.ts";

export type DevicesState = { at: "loading" } | { at: "ready" } | { at: "failed"; failure: Failure };

export class Devices {
  state = $state.raw<DevicesState>({ at: "loading" });
  own = $state.raw<readonly Device[]>([]);
  #ownId: string | undefined;
  #onNew: (device: Device) => void;

  constructor(onNew: (device: Device) => void) {
    this.#onNew = onNew;
    on("devices.changed", ({ userIds }) => {
      if (this.#ownId !== undefined && userIds.includes(this.#ownId)) void this.load();
    });
  }

  /** Another device that could vouch for this one. A new device has nobody verified yet: the identity's signature is what counts. */
  readonly othersCanVouch = $derived(
    this.own.some((device) => !device.current && device.signedByOwner && !device.dehydrated),
  );

  enter(ownId: string): void {
    this.#ownId = ownId;
    void this.load();
  }

  clear(): void {
    this.#ownId = undefined;
    this.own = [];
    this.state = { at: "loading" };
  }

  load = async (): Promise<void> => {
    try {
      const devices = await call("devices.list", {});
      const known = new Set(this.own.map((device) => device.deviceId));
      const first = this.state.at !== "ready";
      this.own = devices.sort(byUse);
      this.state = { at: "ready" };
      if (first) return;
      for (const device of devices) if (!known.has(device.deviceId) && !device.current) this.#onNew(device);
    } catch (error) {
      // what is shown stands until the next change
      if (this.state.at !== "ready") this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  rename = async (deviceId: string, name: string): Promise<Failure | undefined> => {
    try {
      await call("devices.rename", { deviceId, name });
      this.own = this.own.map((device) => (device.deviceId === deviceId ? { ...device, name } : device));
      return undefined;
    } catch (error) {
      return failureOf(error);
    }
  };
}

/** This device first, then those seen lately. */
function byUse(a: Device, b: Device): number {
  return Number(b.current) - Number(a.current) || (b.lastSeenMs ?? 0) - (a.lastSeenMs ?? 0);
}
