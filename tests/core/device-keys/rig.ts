import { afterAll } from "vitest";
import type { Exchange } from "../../homeserver/fault-proxy.ts";
import type { useHomeserver } from "../people.ts";
import { deviceFolder, endDevices, newClock, startDevice } from "./device.ts";

export { dayMs, deviceFolder, hourMs, startDevice, type Device } from "./device.ts";
export const isUpload = { method: "POST", path: /\/keys\/upload$/ };
afterAll(endDevices);

/** Accounts with a device each, behind a proxy and on a clock of their own. */
export const useDevices =
  ({ account, proxyFor }: Pick<ReturnType<typeof useHomeserver>, "account" | "proxyFor">) =>
  async (name: string) => {
    const proxy = await proxyFor();
    const mine = await account(name);
    const clock = newClock();
    return {
      proxy,
      mine,
      clock,
      /** In a new folder; in that of an earlier one it is that device again. */
      start: (folder = deviceFolder()) => startDevice(mine, proxy.url, { clock, folder }),
    };
  };

type UploadBody = {
  device_keys?: unknown;
  one_time_keys?: Record<string, { key: string }>;
  fallback_keys?: Record<string, { key: string; fallback?: boolean; signatures?: unknown }>;
};
export const uploadBody = (exchange: Exchange): UploadBody =>
  JSON.parse(exchange.requestBody.toString("utf8")) as UploadBody;
const ids = (keys: Record<string, unknown> | undefined) =>
  Object.keys(keys ?? {}).map((id) => id.replace("signed_curve25519:", ""));
export const oneTimeIds = (exchange: Exchange): string[] => ids(uploadBody(exchange).one_time_keys);
export const fallbackId = (exchange: Exchange): string | undefined => ids(uploadBody(exchange).fallback_keys)[0];

/** The fallback keys that were uploaded, in order. */
export const fallbackIds = (exchanges: Exchange[]): string[] => exchanges.flatMap((one) => fallbackId(one) ?? []);

/** A sync's answer with the field changed; `undefined` takes it out. */
export const withUnused = (types: string[] | undefined) => ({
  kind: "rewrite-response" as const,
  json: (body: unknown) => {
    const { device_unused_fallback_key_types: _given, ...others } = body as Record<string, unknown>;
    const { "org.matrix.msc2732.device_unused_fallback_key_types": _unstable, ...rest } = others;
    return types === undefined ? rest : { ...rest, device_unused_fallback_key_types: types };
  },
});
