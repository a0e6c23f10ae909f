import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { openCryptoStore, type CryptoStore } from "../../../main/core/storage/crypto-store/index.ts";

const key = Buffer.alloc(32, 0x5a);

export async function startRustCrypto(): Promise<void> {
  await sdk.initAsync();
  new sdk.Tracing(sdk.LoggerLevel.Error).turnOn();
}

/** A device whose machine lives in a file of its own and can be closed and opened again. */
export class DeviceOnDisk {
  readonly user: string;
  readonly device: string;
  readonly file: string;
  store: CryptoStore;
  machine: sdk.OlmMachine;

  private constructor(user: string, device: string, file: string, store: CryptoStore, machine: sdk.OlmMachine) {
    this.user = user;
    this.device = device;
    this.file = file;
    this.store = store;
    this.machine = machine;
  }

  static async open(user: string, device: string, file: string): Promise<DeviceOnDisk> {
    const store = openCryptoStore({ file, key });
    return new DeviceOnDisk(user, device, file, store, await initialise(user, device, store));
  }

  async reopen(): Promise<void> {
    this.close();
    this.store = openCryptoStore({ file: this.file, key });
    this.machine = await initialise(this.user, this.device, this.store);
  }

  close(): void {
    this.machine.close();
    this.store.close();
  }
}

/** Rust crypto takes the IndexedDB that is global at the time. */
function initialise(user: string, device: string, store: CryptoStore): Promise<sdk.OlmMachine> {
  Object.assign(globalThis, store.globals);
  return sdk.OlmMachine.initialize(new sdk.UserId(user), new sdk.DeviceId(device), `${device}::store`);
}
