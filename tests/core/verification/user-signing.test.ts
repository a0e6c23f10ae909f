import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { CoreError } from "../../../main/core/errors.ts";
import { startCrypto } from "../../../main/core/matrix/client.ts";
import type { Crypto } from "../../../main/core/matrix/crypto.ts";
import { createHttp, type Http } from "../../../main/core/matrix/http.ts";
import { queryKeys, userSign } from "../../../main/core/matrix/user-signing.ts";
import { openCryptoStore, type CryptoStore } from "../../../main/core/storage/crypto-store/index.ts";
import { useHomeserver, type Person } from "../people.ts";
import { forgedIdentity, withForged } from "./forged-identity.ts";
import { setUp } from "./verifying.ts";
import type { FaultProxy } from "../../homeserver/fault-proxy.ts";

/** The one adapter that signs another user's identity, on a real machine in this process and a server that may lie. */
// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const homeserver = useHomeserver();
const isQuery = { method: "POST", path: /\/keys\/query$/ };
const isSignatures = { method: "POST", path: /\/keys\/signatures\/upload$/ };
let folder: string;
let store: CryptoStore;
let proxy: FaultProxy;
let http: Http;
let ana: Crypto;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "tessera-signing-"));
  store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: new Uint8Array(32).fill(7) });
  const account = await homeserver.account("ana");
  proxy = await homeserver.proxyFor();
  http = createHttp({ homeserver: proxy.url, accessToken: account.accessToken, proxy: {} });
  ana = await startCrypto({ ...account, homeserver: proxy.url }, http, store);
  await ana.processOutgoing();
});
afterAll(async () => {
  await http.close();
  store.close();
  await rm(folder, { recursive: true, force: true });
});

/** Cross-signing for the machine under test, as a first upload that no server asks a password for. */
const bootstrap = async () => {
  const { machine } = ana.inner;
  const requests = await machine.bootstrapCrossSigning(true);
  const post = (where: string, body: string) =>
    http.request("POST", `/_matrix/client/v3/keys/${where}`, { body: JSON.parse(body) as unknown });
  await post("device_signing/upload", requests.uploadSigningKeysRequest.body);
  await post("signatures/upload", requests.uploadSignaturesRequest.body);
  await queryKeys(ana, [ana.userId]);
};
/** Somebody with an identity, and their master key as the server shows it. */
const someone = async (): Promise<[Person, string]> => {
  const person = await homeserver.person("ben");
  await setUp(person);
  const answer = await homeserver
    .server()
    .api<{ master_keys: Record<string, { keys: Record<string, string> }> }>("POST", "v3/keys/query", {
      token: person.account.accessToken,
      body: { device_keys: { [person.userId]: [] } },
    });
  return [person, Object.values(answer.master_keys[person.userId]?.keys ?? {})[0] ?? ""];
};
const failure = (work: Promise<unknown>) =>
  work.then(
    () => "none",
    (error: unknown) => {
      if (!(error instanceof CoreError)) throw error;
      return [error.code, (error.details as { kind?: string } | undefined)?.kind];
    },
  );
const isVerified = async (userId: string) => {
  const { UserId } = await import("@matrix-org/matrix-sdk-crypto-wasm");
  return (await ana.inner.machine.getIdentity(new UserId(userId)))?.isVerified() ?? false;
};

test("without a user-signing key of one's own nothing is asked and nothing is signed", async () => {
  const asked = proxy.exchanges.length;
  expect(await failure(userSign(ana, "@nobody:tessera.test", "x"))).toEqual(["conflict", "setup-needed"]);
  expect(proxy.exchanges).toHaveLength(asked);
});

test("the expected key is signed, uploaded, and found on the server", async () => {
  await bootstrap();
  const [ben, key] = await someone();
  await userSign(ana, ben.userId, key);
  expect(await isVerified(ben.userId)).toBe(true);
});

test("another key than the expected one is not signed, also when it differs in one bit or in length", async () => {
  const [ben, key] = await someone();
  const bytes = Buffer.from(key, "base64");
  const flipped = Buffer.from(bytes.map((byte, index) => (index === 31 ? byte ^ 1 : byte))).toString("base64");
  const uploads = proxy.seen(isSignatures).length;
  for (const wrong of [flipped, key.slice(0, 20), "", `${key}AAAA`])
    expect(await failure(userSign(ana, ben.userId, wrong))).toEqual(["identity-changed", "keys-differ"]);
  expect(proxy.seen(isSignatures)).toHaveLength(uploads);
  expect(await isVerified(ben.userId)).toBe(false);
});

test("a user without an identity, or one that the server does not know, is told as that", async () => {
  const without = await homeserver.account("cleo");
  expect(await failure(userSign(ana, without.userId, "x"))).toEqual(["not-found", "no-identity"]);
  expect(await failure(userSign(ana, "@nobody:tessera.test", "x"))).toEqual(["not-found", "no-identity"]);
});

test("a key that is swapped between comparing and signing: the signature covers the compared key alone", async () => {
  const [ben, key] = await someone();
  const forged = forgedIdentity(ben.userId);
  const { machine } = ana.inner;
  const honest = machine.getIdentity.bind(machine);
  const uploads = proxy.seen(isSignatures).length;
  let swapped = false;
  Reflect.set(machine, "getIdentity", async (userId: Parameters<typeof honest>[0]) => {
    const identity = await honest(userId);
    if (swapped) return identity;
    swapped = true;
    // by the time that it is compared and signed, the store holds another one
    const rule = proxy.on(isQuery, { kind: "rewrite-response", json: withForged(ben.userId, forged) });
    await queryKeys(ana, [ben.userId]);
    rule.remove();
    return identity;
  });
  try {
    await userSign(ana, ben.userId, key);
  } finally {
    Reflect.deleteProperty(machine, "getIdentity");
  }
  expect(swapped).toBe(true);
  const uploaded = proxy.seen(isSignatures).slice(uploads);
  expect(uploaded).toHaveLength(1);
  const body = String(uploaded[0]?.requestBody);
  expect(body).toContain(key);
  expect(body).not.toContain(forged.masterKey);
});

test("a 200 with failures is no signature", async () => {
  const [ben, key] = await someone();
  const failures = { [ben.userId]: { [key]: { errcode: "M_INVALID_SIGNATURE", error: "no" } } };
  proxy.on(isSignatures, { kind: "status", status: 200, body: { failures } }, { times: 1 });
  expect(await failure(userSign(ana, ben.userId, key))).toEqual(["forbidden", "signature-refused"]);
  expect(await isVerified(ben.userId)).toBe(false);
});

test("a server that takes the signature and does not show it has not got it", async () => {
  const [ben, key] = await someone();
  proxy.on(isSignatures, { kind: "status", status: 200, body: { failures: {} } }, { times: 1 });
  expect(await failure(userSign(ana, ben.userId, key))).toEqual(["unreachable", "signature-missing"]);
  expect(await isVerified(ben.userId)).toBe(false);
});

test("keys/query of a wrong shape is the server's failure", async () => {
  const [ben, key] = await someone();
  for (const body of [[], { master_keys: 5 }, { device_keys: "x", master_keys: {} }]) {
    const rule = proxy.on(isQuery, { kind: "status", status: 200, body });
    const told = await failure(userSign(ana, ben.userId, key));
    rule.remove();
    expect(["unreachable", "not-found"]).toContain(told[0]);
  }
  await userSign(ana, ben.userId, key);
});
