// before Rust crypto's module is instantiated
import "./crypto-clock.ts";
import { createClient } from "matrix-js-sdk";
import type { Logger } from "matrix-js-sdk/lib/logger.js";
import { CoreError } from "../errors.ts";
import { isObject } from "../json.ts";
import type { Session } from "../worker-port.ts";
import { createCrypto, type AsOne, type Backend, type Crypto } from "./crypto.ts";
import type { Http } from "./http.ts";
import { useIndexedDb, type CryptoStoreGlobals } from "./indexed-db.ts";
import { silenceSdkBackup } from "./sdk-backup.ts";

const nothing = () => undefined;
/** The SDK's log lines name users, devices and rooms: none of them is kept. */
const quiet: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  getChild: () => quiet,
};

/**
 * Starts Rust crypto through matrix-js-sdk over the given store. `startClient` is never called, and nothing that looks up
 * the SDK's own Room leaves this file: `sendEvent` in a room that the SDK does not know goes out in clear.
 */
export async function startCrypto(
  session: Session,
  http: Http,
  store: { globals: CryptoStoreGlobals; asOne: AsOne },
): Promise<Crypto> {
  useIndexedDb(store.globals);
  silenceSdkBackup();
  const client = createClient({
    baseUrl: session.homeserver,
    userId: session.userId,
    deviceId: session.deviceId,
    accessToken: session.accessToken,
    fetchFn: http.fetchFn,
    logger: quiet,
  });
  await client.initRustCrypto({ useIndexedDB: true, cryptoDatabasePrefix: "tessera" });
  const backend: unknown = client.getCrypto();
  if (!isBackend(backend)) throw new CoreError("unexpected", { message: "Rust crypto did not start." });
  return createCrypto(backend, http, quiet, store.asOne);
}

const isBackend = (value: unknown): value is Backend =>
  isObject(value) &&
  isObject(value["olmMachine"]) &&
  isObject(value["outgoingRequestsManager"]) &&
  isObject(value["keyClaimManager"]);
