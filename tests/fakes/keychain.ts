import { KeychainError, type Keychain, type KeychainTrouble } from "../../main/host/keychain.ts";

/** A keychain in memory that can be away, refuse, wait for a person, and whose entries can be looked at. */
export type FakeKeychain = Keychain & {
  entries: Map<string, string>;
  /** What the next calls end with; undefined: they work. */
  trouble: KeychainTrouble | undefined;
  /** Calls wait, as behind a prompt, until `answer`. */
  prompt: () => void;
  answer: (trouble?: KeychainTrouble) => void;
  reads: number;
  writes: number;
};

export function fakeKeychain(): FakeKeychain {
  let waiting:
    { promise: Promise<undefined>; resolve: (value: undefined) => void; reject: (error: Error) => void } | undefined;
  const pass = async () => {
    await waiting?.promise;
    if (keychain.trouble !== undefined) throw new KeychainError(keychain.trouble);
  };
  const keychain: FakeKeychain = {
    backend: "fake",
    entries: new Map(),
    trouble: undefined,
    reads: 0,
    writes: 0,
    prompt() {
      waiting = Promise.withResolvers<undefined>();
      waiting.promise.catch(() => undefined);
    },
    answer(trouble) {
      if (trouble === undefined) waiting?.resolve(undefined);
      else waiting?.reject(new KeychainError(trouble));
      waiting = undefined;
    },
    async read(entry) {
      keychain.reads += 1;
      await pass();
      return keychain.entries.get(entry);
    },
    async write(entry, value) {
      keychain.writes += 1;
      await pass();
      keychain.entries.set(entry, value);
    },
    async remove(entry) {
      await pass();
      keychain.entries.delete(entry);
    },
    stop() {
      keychain.answer("timeout");
    },
  };
  return keychain;
}
