/** Devices in words. Their names are their owners' own and may be anything. */
import type { Device } from "../../../preload/contract/devices.ts";
import { m } from "../paraglide/messages.js";
import { legibleLine } from "./legible.ts";

export const deviceName = (device: Pick<Device, "name" | "deviceId">): string =>
  legibleLine(device.name ?? "", 60) || m.device_unnamed({ id: legibleLine(device.deviceId, 20) });
