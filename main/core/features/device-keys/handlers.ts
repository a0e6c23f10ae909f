import type { deviceKeysCommands } from "../../../../preload/contract/device-keys.ts";
import type { Handlers } from "../../../../preload/contract/index.ts";
import type { DeviceKeys } from "./device-keys.ts";

export const createDeviceKeysHandlers = (deviceKeys: DeviceKeys): Handlers<keyof typeof deviceKeysCommands> => ({
  "deviceKeys.status": () => deviceKeys.status(),
});
