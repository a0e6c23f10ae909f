import type { Failure } from "../../../../preload/contract/define.ts";
import { asCoreError, CoreError, toFailure } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Http } from "../../matrix/http.ts";
import { accountPage, confirmedByPerson } from "../../matrix/user-interactive.ts";

type Parts = {
  http: Http;
  me: string;
  /** The ids that the server lists now. */
  listed: () => Promise<string[]>;
};
export type SignedOut = { signedOut: string[]; failed: { deviceId: string; error: Failure }[] };

const action = "org.matrix.session_end";
/** These are answers to the whole, not to one device. */
const ofTheWhole = new Set([
  "authentication-required",
  "forbidden",
  "not-signed-in",
  "rate-limited",
  "unreachable",
  "timeout",
  "cancelled",
]);

/**
 * Signs devices out with one confirmation, one by one where the server will not take them together. What is gone already counts as
 * signed out; what the server lists afterwards in spite of its answer counts as failed.
 */
export async function signOutDevices(
  { http, me, listed }: Parts,
  deviceIds: string[],
  password: string | undefined,
): Promise<SignedOut> {
  const present = new Set(await listed());
  const wanted = deviceIds.filter((deviceId) => present.has(deviceId));
  const failed = wanted.length === 0 ? [] : await remove(http, me, wanted, password);
  const refused = new Set(failed.map(({ deviceId }) => deviceId));
  const after = new Set(
    await listed().catch((error: unknown) => {
      log.info(`the devices were not listed after the sign-out: ${toFailure(error).code}`);
      return [] as string[];
    }),
  );
  for (const deviceId of deviceIds)
    if (after.has(deviceId) && !refused.has(deviceId)) {
      failed.push({
        deviceId,
        error: toFailure(new CoreError("unexpected", { message: "The server still lists this device." })),
      });
      refused.add(deviceId);
    }
  return { signedOut: deviceIds.filter((deviceId) => !refused.has(deviceId)), failed };
}

/** Source: client-server API, `POST /delete_devices` and `DELETE /devices/{deviceId}`. */
async function remove(
  http: Http,
  me: string,
  deviceIds: string[],
  password: string | undefined,
): Promise<SignedOut["failed"]> {
  const confirmed = (send: (auth: Record<string, unknown> | undefined) => Promise<unknown>) =>
    confirmedByPerson(http, { me, password, action }, send);
  const withAuth = (body: object, auth: object | undefined) => (auth === undefined ? body : { ...body, auth });
  try {
    await confirmed((auth) =>
      http.request("POST", "/_matrix/client/v3/delete_devices", {
        body: withAuth({ devices: deviceIds }, auth),
        timeoutMs: 60_000,
      }),
    );
    return [];
  } catch (error) {
    const known = asCoreError(error);
    if (ofTheWhole.has(known.code)) throw known;
    if (known.code === "unsupported" || known.code === "not-found") await sendToAccountPage(http, deviceIds, known);
    log.info(`the server did not sign out all devices at once: ${known.code}`);
  }
  const failed: SignedOut["failed"] = [];
  for (const deviceId of deviceIds)
    try {
      await confirmed((auth) =>
        http.request("DELETE", `/_matrix/client/v3/devices/${encodeURIComponent(deviceId)}`, {
          body: withAuth({}, auth),
        }),
      );
    } catch (error) {
      const known = asCoreError(error);
      if (known.code === "not-found") continue;
      if (known.code === "authentication-required" || known.code === "forbidden") throw known;
      failed.push({ deviceId, error: toFailure(known) });
    }
  return failed;
}

/** A server that leaves its accounts to OAuth signs devices out on the account's own page alone. */
async function sendToAccountPage(http: Http, deviceIds: string[], cause: CoreError): Promise<void> {
  const page = await accountPage(http, action);
  if (page === undefined) return;
  const url = new URL(page);
  const [only] = deviceIds;
  if (only !== undefined && deviceIds.length === 1) url.searchParams.set("device_id", only);
  throw new CoreError("authentication-required", {
    cause,
    message: "Devices are signed out on the account's own page.",
    details: { flows: [], url: url.href },
  });
}
