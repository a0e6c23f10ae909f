import { expect, test } from "vitest";
import { createShields } from "../../main/core/features/trust/shields.ts";

const ben = "@ben:tessera.test";
const now = { fingerprint: "first", state: "pinned" as "pinned" | "changed" | "verification-violated" };
const accepted = new Set<string>();
const shields = createShields({
  store: {
    isBlocked: () => false,
    hasAccepted: (userId, fingerprint) => userId === ben && accepted.has(fingerprint),
  },
  pins: { unsettled: () => (now.state === "pinned" ? undefined : now) },
});

test("what came while the identity was another one stays marked when the server puts the first one back", () => {
  Object.assign(now, { fingerprint: "swapped", state: "changed" });
  const changed = shields.then(ben, { device: "D", shield: "none" });
  expect(changed).toMatchObject({ shield: "grey", reason: "identity-changed" });
  const violated = { device: "D", shield: "red", reason: "verification-violation", identity: "swapped" } as const;
  Object.assign(now, { fingerprint: "first", state: "pinned" });
  expect(shields.now(ben, changed)).toEqual({ device: "D", shield: "grey", reason: "identity-changed" });
  expect(shields.now(ben, violated)).toEqual({ device: "D", shield: "red", reason: "verification-violation" });
});

test("once that very identity is accepted the mark is gone, and stays gone when another follows", () => {
  Object.assign(now, { fingerprint: "swapped", state: "changed" });
  const then = shields.then(ben, { device: "D", shield: "none" });
  accepted.add("swapped");
  Object.assign(now, { fingerprint: "third", state: "changed" });
  expect(shields.now(ben, then)).toEqual({ device: "D", shield: "none" });
  const later = shields.then(ben, { device: "D", shield: "none" });
  expect(shields.now(ben, later)).toMatchObject({ shield: "grey" });
});
