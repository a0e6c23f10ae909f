import type { Api } from "./api.ts";

/** With `accessToken`, its own one-time keys can be counted without claiming one. */
export type Device = { userId: string; deviceId: string; accessToken?: string };
export type ClaimedKey = { keyId: string; key: string; fallback: boolean; body: Record<string, unknown> };

const algorithm = "signed_curve25519";

/** Claims one key of the device as `token`'s user; undefined when the server has none left, not even a fallback key. */
export async function claim(api: Api, token: string, device: Device): Promise<ClaimedKey | undefined> {
  const answer = await api<{ one_time_keys?: Record<string, Record<string, Record<string, KeyObject>>> }>(
    "POST",
    "v3/keys/claim",
    { token, body: { one_time_keys: { [device.userId]: { [device.deviceId]: algorithm } } } },
  );
  const [entry] = Object.entries(answer.one_time_keys?.[device.userId]?.[device.deviceId] ?? {});
  if (entry === undefined) return undefined;
  const [keyId, body] = entry;
  return { keyId, key: body.key, fallback: body.fallback === true, body };
}

type KeyObject = { key: string; fallback?: boolean } & Record<string, unknown>;

/**
 * Claims all one-time keys of a device. With its access token they are counted first and the fallback key stays
 * untouched; without, claiming goes on until the fallback key comes (and so counts as used) or nothing does.
 */
export async function claimAllOneTimeKeys(
  api: Api,
  token: string,
  device: Device,
): Promise<{ oneTime: ClaimedKey[]; fallback?: ClaimedKey }> {
  const count = device.accessToken === undefined ? Infinity : await countOneTimeKeys(api, device.accessToken);
  const oneTime: ClaimedKey[] = [];
  while (oneTime.length < count) {
    const key = await claim(api, token, device);
    if (key === undefined) break;
    if (key.fallback) return { oneTime, fallback: key };
    oneTime.push(key);
  }
  return { oneTime };
}

/** An upload of nothing answers how many there are. */
export async function countOneTimeKeys(api: Api, accessToken: string): Promise<number> {
  const { one_time_key_counts: counts } = await api<{ one_time_key_counts: Record<string, number> }>(
    "POST",
    "v3/keys/upload",
    { token: accessToken, body: {} },
  );
  return counts[algorithm] ?? 0;
}
