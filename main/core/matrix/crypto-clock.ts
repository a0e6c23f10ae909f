/**
 * Rust crypto replaces its fallback key by age alone, and offers no call to replace one that was used. Its wasm reads the time of
 * day through a single import; who reads is known by the call stack, since the wasm carries its function names. One reading is ours:
 * the one by which Rust crypto judges the age of its fallback key. All others are the truth (tests/core/device-keys/clock.test.ts).
 */
type Clock = (...input: unknown[]) => unknown;
/**
 * How old the fallback key is to look: `expired` makes Rust crypto replace it once; `new`, where it was made at that very time, keeps
 * it whatever its age (a time before that would make it be replaced); `true` leaves all as it is.
 */
export type FallbackKeyAge = { kind: "expired" } | { kind: "new"; madeAtMs: number } | { kind: "true" };
/** How often the age was asked for, and when a key was made meanwhile. */
export type FallbackKeyReadings = { asked: number; madeAtMs?: number };

const bindings = "./matrix_sdk_crypto_wasm_bg.js";
const judge = "generate_fallback_key_if_needed";
/** Rust crypto replaces a key that is older than seven days. */
const aheadMs = 8 * 24 * 3_600_000;

let imports = 0;
let age: FallbackKeyAge | undefined;
let readings: FallbackKeyReadings = { asked: 0 };
let turn: Promise<unknown> = Promise.resolve();

/** The new key's creation time is read by the same function, but through a type of its own: that reading must be true. */
function purposeOf(): "age" | "creation" | undefined {
  const depth = Error.stackTraceLimit;
  Error.stackTraceLimit = 12;
  const frames = (new Error().stack ?? "").split("\n");
  Error.stackTraceLimit = depth;
  const at = frames.findIndex((frame) => frame.includes(judge));
  if (at < 1) return undefined;
  return frames[at - 1]?.includes("SystemTime") === true ? "age" : "creation";
}

function seamIn(now: Clock): Clock {
  // without parameters, as wasm-bindgen declares it
  return () => {
    const wanted = age;
    const truth = now();
    // a stack is not taken for nothing
    if (wanted === undefined || typeof truth !== "number") return truth;
    const purpose = purposeOf();
    if (purpose === "creation") readings.madeAtMs = truth;
    if (purpose !== "age") return truth;
    readings.asked++;
    if (wanted.kind === "new") return wanted.madeAtMs;
    if (wanted.kind === "true") return truth;
    age = { kind: "true" };
    return truth + aheadMs;
  };
}

type Modules = Record<string, Record<string, unknown>>;
type Instantiate = (bytes: unknown, modules?: Modules) => Promise<unknown>;
// no part of the types of Node
const wasm = (globalThis as unknown as { WebAssembly: { instantiate: Instantiate } }).WebAssembly;
const instantiate = wasm.instantiate.bind(wasm);
/** Others instantiate modules too; the first that is Rust crypto's ends the wait. */
wasm.instantiate = (bytes, modules) => {
  const given = modules?.[bindings];
  if (given === undefined) return instantiate(bytes, modules);
  wasm.instantiate = instantiate;
  const changed = { ...given };
  for (const [name, value] of Object.entries(changed))
    if (/^__wbg_now_/.test(name) && typeof value === "function" && value.length === 0) {
      imports++;
      changed[name] = seamIn(value as Clock);
    }
  return instantiate(bytes, { ...modules, [bindings]: changed });
};

/** Known once Rust crypto has started: its module read the time of day through exactly one import, and that is ours. */
export const canJudgeFallbackKeys = (): boolean => imports === 1;

/** Runs one `receiveSyncChanges` with the fallback key as old as wanted. */
export function withFallbackKeyAge<T>(
  wanted: FallbackKeyAge,
  work: () => Promise<T>,
): Promise<FallbackKeyReadings & { value: T }> {
  const mine = turn.then(async () => {
    age = wanted;
    readings = { asked: 0 };
    try {
      const value = await work();
      return { ...readings, value };
    } finally {
      age = undefined;
    }
  });
  turn = mine.catch(() => undefined);
  return mine;
}
