import fc from "fast-check";
import { expect, test } from "vitest";
import { meaningOf, methodsOf } from "../../main/core/features/verification/flow-state.ts";
import { createOutbox } from "../../main/core/features/verification/outbox.ts";
import { parseCode } from "../../main/core/features/verification/qr-code.ts";
import { settle } from "../../main/core/features/verification/settle.ts";
import { CoreError } from "../../main/core/errors.ts";
import type { Look, Outgoing } from "../../main/core/matrix/verification.ts";

const shown = { emoji: [], numbers: [], decimals: [1, 2, 3] as [number, number, number] };
const emoji = (more: object = {}) =>
  ({ kind: "emoji", confirmed: false, done: false, ...more }) as NonNullable<Look["chosen"]>;
const at = (look: Look, agreed = false) => {
  const meaning = meaningOf(look, agreed);
  return meaning.kind === "state" ? meaning.state.at : meaning.kind;
};

test("what Rust crypto says, in the words of the contract", () => {
  expect(at({ phase: "requested" })).toBe("requested");
  expect(at({ phase: "ready" })).toBe("ready");
  expect(at({ phase: "transitioned", chosen: emoji() })).toBe("waiting-for-other");
  expect(at({ phase: "transitioned", chosen: emoji({ shown }) })).toBe("comparing");
  expect(at({ phase: "transitioned", chosen: emoji({ shown, confirmed: true }) }, true)).toBe("waiting-for-other");
  expect(at({ phase: "transitioned", chosen: { kind: "qr", at: "created" } })).toBe("ready");
  expect(at({ phase: "transitioned", chosen: { kind: "qr", at: "scanned" } })).toBe("qr-scanned");
  for (const qr of ["confirmed", "reciprocated"] as const)
    expect(at({ phase: "transitioned", chosen: { kind: "qr", at: qr } }, true)).toBe("waiting-for-other");
  expect(at({ phase: "done", chosen: { kind: "qr", at: "done" } }, true)).toBe("both-agreed");
  expect(at({ phase: "done", chosen: emoji({ done: true }) }, true)).toBe("both-agreed");
  expect(meaningOf({ phase: "passive" }, false)).toEqual({
    kind: "state",
    state: { at: "cancelled", code: "m.accepted", byMe: false },
  });
});

test("done that we did not agree to, or without anything that is done, is broken", () => {
  expect(at({ phase: "done" }, true)).toBe("broken");
  expect(at({ phase: "done", chosen: emoji({ done: true }) })).toBe("broken");
  for (const qr of ["created", "scanned", "confirmed", "reciprocated"] as const)
    expect(at({ phase: "done", chosen: { kind: "qr", at: qr } }, true)).toBe("broken");
});

test("methods are the other side's, turned round", () => {
  expect(methodsOf(undefined)).toEqual([]);
  expect(methodsOf(["emoji", "show", "scan"])).toEqual(["emoji", "qr-show", "qr-scan"]);
  expect(methodsOf(["show"])).toEqual(["qr-scan"]);
  expect(methodsOf(["scan"])).toEqual(["qr-show"]);
});

const code = (mode: number, flowId = "flow", { version = 2, secret = 8 } = {}) => {
  const id = Buffer.from(flowId);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(id.length);
  return Buffer.concat([Buffer.from("MATRIX"), Buffer.from([version, mode]), length, id, Buffer.alloc(64 + secret, 1)]);
};
const kindOf = (bytes: Uint8Array): unknown => {
  try {
    parseCode(bytes);
    return "fine";
  } catch (error) {
    return error instanceof CoreError && error.code === "bad-request"
      ? (error.details as { kind: unknown }).kind
      : error;
  }
};

test("a code of each mode is read; each other kind is named", () => {
  for (const mode of [0, 1, 2]) expect(parseCode(code(mode, "$event"))).toEqual({ mode, flowId: "$event" });
  for (const mode of [3, 4]) expect(kindOf(code(mode))).toBe("sign-in");
  expect(kindOf(code(5))).toBe("wrong-mode");
  expect(kindOf(code(0, "f", { version: 3 }))).toBe("newer-version");
  expect(kindOf(Buffer.from("https://example.org"))).toBe("not-a-code");
  expect(kindOf(new Uint8Array())).toBe("not-a-code");
});

test("a code cut anywhere is refused, and no bytes make reading fail otherwise", () => {
  const whole = code(1);
  for (let length = 0; length < whole.length; length++)
    expect(kindOf(whole.subarray(0, length))).toBe(length < 6 ? "not-a-code" : "truncated");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
      expect(typeof kindOf(Buffer.concat([Buffer.from("MATRIX"), tail]))).toBe("string");
    }),
  );
});

const message = (transactionId: string): Outgoing => ({
  kind: "to-device",
  type: "m.key.verification.key",
  transactionId,
  messages: {},
});

test("messages keep their order while the network fails; what is refused holds up nothing", async () => {
  const sent: string[] = [];
  const refused: string[] = [];
  let failures = 3;
  let nowMs = 0;
  const outbox = createOutbox({
    nowMs: () => nowMs,
    lastsMs: 600_000,
    sleep: (ms) => {
      nowMs += ms;
      return Promise.resolve();
    },
    send: ({ transactionId }) => {
      if (transactionId === "bad") return Promise.reject(new CoreError("forbidden"));
      if (failures-- > 0) return Promise.reject(new CoreError("unreachable"));
      sent.push(transactionId);
      return Promise.resolve();
    },
    refused: ({ transactionId }) => refused.push(transactionId),
  });
  await outbox.put(["a", "bad", "b", "c"].map(message));
  expect(sent).toEqual(["a", "b", "c"]);
  expect(refused).toEqual(["bad"]);
});

test("a message nobody can want any more is given up", async () => {
  let nowMs = 0;
  let tries = 0;
  const outbox = createOutbox({
    nowMs: () => nowMs,
    lastsMs: 60_000,
    sleep: (ms) => {
      nowMs += ms;
      return Promise.resolve();
    },
    send: () => {
      tries++;
      return Promise.reject(new CoreError("unreachable"));
    },
    refused: () => undefined,
  });
  void outbox.put([message("a")]);
  await outbox.put([message("b")]);
  expect(nowMs).toBeGreaterThan(60_000);
  expect(tries).toBeLessThan(30);
});

const proof = { kind: "user" as const, userId: "@ben:two.test", masterKey: "key" };
const settling = async (rounds: (string[] | CoreError)[], more: { stopAfter?: number } = {}) => {
  const log: string[] = [];
  let round = 0;
  const result = await settle(
    proof,
    {
      missing: () => {
        const now = rounds[round++] ?? [];
        return now instanceof CoreError ? Promise.reject(now) : Promise.resolve(now as "signature"[]);
      },
      sign: () => {
        log.push("sign");
        return Promise.resolve();
      },
      requestSecrets: () => {
        log.push("ask");
        return Promise.resolve();
      },
      wait: (ms) => {
        log.push(`wait ${ms}`);
        return Promise.resolve();
      },
      stopped: () => round >= (more.stopAfter ?? Infinity),
    },
    (missing) => log.push(missing.join("+") || "nothing"),
  );
  return { result, log };
};

test("settling: the machine's own upload first, then signed anew, secrets asked for again, with growing waits", async () => {
  expect(await settling([["signature"], ["signature"], ["backup"], []])).toEqual({
    result: "done",
    log: ["signature", "wait 1000", "signature", "sign", "wait 2000", "backup", "ask", "wait 4000", "nothing"],
  });
});

test("settling: a server that is away is asked again, keys that differ end it", async () => {
  const away = new CoreError("unreachable");
  expect((await settling([away, away, []])).result).toBe("done");
  expect((await settling([["signature"], new CoreError("identity-changed")])).result).toBe("keys-differ");
  expect((await settling([new CoreError("not-found")])).result).toBe("keys-differ");
  expect((await settling([["signature"], ["signature"]], { stopAfter: 2 })).result).toBe("stopped");
});
