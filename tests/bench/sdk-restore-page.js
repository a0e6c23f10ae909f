// What tests/bench/restore.ts puts into a page of Chromium: matrix-js-sdk's own restore of a backup, over its own store.
import { createClient } from "matrix-js-sdk";

globalThis.restore = async ({ baseUrl, userId, deviceId, accessToken, privateKey, version, prefix }) => {
  const logger = { getChild: () => logger };
  for (const level of ["trace", "debug", "info", "warn", "error"]) logger[level] = () => undefined;
  const client = createClient({ baseUrl, userId, deviceId, accessToken, logger });
  await client.initRustCrypto({ cryptoDatabasePrefix: prefix });
  const crypto = client.getCrypto();
  const key = Uint8Array.from(atob(privateKey), (character) => character.charCodeAt(0));
  await crypto.storeSessionBackupPrivateKey(key, version);
  const fromMs = performance.now();
  const { total, imported } = await crypto.restoreKeyBackup();
  return { total, imported, tookMs: performance.now() - fromMs };
};
