import { describe, expect, test } from "vitest";
import { deviceChanges } from "../../main/core/features/trust/device-changes.ts";
import { planFor, type PlanInput } from "../../main/core/features/trust/recipients-plan.ts";
import type { KnownDevice, KnownUser } from "../../main/core/matrix/device-list.ts";

const me = "@me:example.org";
const bob = "@bob:example.org";
const device = (userId: string, deviceId: string, more: Partial<KnownDevice> = {}): KnownDevice => ({
  userId,
  deviceId,
  signedByOwner: true,
  dehydrated: false,
  mark: "none",
  ...more,
});
const user = (userId: string, devices: KnownDevice[], verified = false): KnownUser => ({
  userId,
  identity: { own: userId === me, fingerprint: "F", verified, violated: false, changed: false },
  devices,
});
const plan = (more: Partial<PlanInput>) =>
  planFor({
    me,
    current: "HERE",
    effective: "signed-devices",
    users: [],
    isBlocked: () => false,
    standing: (one) => (one.identity?.verified === true ? "verified" : "pinned"),
    isSendBlocked: () => false,
    ...more,
  });

describe("who gets the key", () => {
  test("the device itself is never among its recipients, other own ones are", () => {
    const users = [user(me, [device(me, "HERE"), device(me, "THERE")], true)];
    expect(plan({ users }).allowed.map(({ deviceId }) => deviceId)).toEqual(["THERE"]);
  });

  test("a blocked device turns the choice over to marks, which then allow every other signed device", () => {
    const users = [
      user(bob, [device(bob, "A"), device(bob, "B"), device(bob, "C", { signedByOwner: false, mark: "allowed" })]),
    ];
    const { strategy, marks } = plan({ users, isBlocked: (_, deviceId) => deviceId === "B" });
    expect(strategy).toBe("marked");
    expect(marks).toEqual([
      { userId: bob, deviceId: "A", mark: "allowed" },
      { userId: bob, deviceId: "B", mark: "blocked" },
      { userId: bob, deviceId: "C", mark: "none" },
    ]);
  });

  test("marks that an earlier choice left are taken back before verified people alone are sent to", () => {
    const users = [user(bob, [device(bob, "A", { mark: "allowed" }), device(bob, "B", { mark: "verified" })])];
    const { allowed, marks } = plan({ users, effective: "verified-users" });
    expect(allowed).toEqual([]);
    expect(marks.map(({ mark }) => mark)).toEqual(["none", "none"]);
  });

  test("somebody barred from being sent to stops every message of the room", () => {
    const users = [user(bob, [device(bob, "A")])];
    const { refusal, withheld } = plan({ users, effective: "everyone", isSendBlocked: (userId) => userId === bob });
    expect(refusal).toEqual({ code: "recipients-blocked", userIds: [bob] });
    expect(withheld.map(({ reason }) => reason)).toEqual(["blocked"]);
  });

  test("an own identity that is not the verified one stops all but the choice to send to everyone", () => {
    const users = [user(me, [])];
    const standing = () => "verification-violated" as const;
    expect(plan({ users, standing }).refusal).toEqual({ code: "identity-changed", userIds: [me] });
    expect(plan({ users, standing, effective: "everyone" }).refusal).toBeUndefined();
  });

  test("a verification that was taken back here outweighs the signature that the server still shows", () => {
    const users = [user(bob, [device(bob, "A")], true)];
    const { allowed, marks } = plan({ users, effective: "verified-users", standing: () => "pinned" });
    expect(allowed).toEqual([]);
    expect(marks).toEqual([{ userId: bob, deviceId: "A", mark: "blocked" }]);
  });
});

describe("what became of devices", () => {
  const stored = (...devices: KnownDevice[]) => deviceChanges(user(bob, devices), undefined)?.stored;
  const a = device(bob, "A", { fingerprint: "a" });

  test("the first sight tells nothing, the same again neither", () => {
    expect(deviceChanges(user(bob, [a]), undefined)?.entries).toEqual([]);
    expect(deviceChanges(user(bob, []), undefined)).toBeUndefined();
    expect(deviceChanges(user(bob, [a]), stored(a))).toBeUndefined();
  });

  test("a device under a known id with another key is another device", () => {
    const other = device(bob, "A", { fingerprint: "other" });
    expect(deviceChanges(user(bob, [other]), stored(a))?.entries).toEqual([
      { kind: "device-removed", deviceId: "A", detail: "a" },
      { kind: "device-added", deviceId: "A", detail: "other" },
    ]);
  });

  test("ids that mean something to JavaScript are ids", () => {
    const odd = ["__proto__", "constructor", "7"].map((deviceId) => device(bob, deviceId, { fingerprint: "x" }));
    expect(deviceChanges(user(bob, odd), stored(a))?.entries.map(({ deviceId }) => deviceId)).toEqual([
      "A",
      "__proto__",
      "constructor",
      "7",
    ]);
    expect(deviceChanges(user(bob, odd), stored(...odd))).toBeUndefined();
  });

  test("thousands are counted, not listed", () => {
    const many = Array.from({ length: 600 }, (_, n) => device(bob, `D${n}`, { fingerprint: String(n) }));
    const change = deviceChanges(user(bob, many), stored(a));
    expect(change?.entries).toEqual([{ kind: "device-added", detail: "600 devices" }]);
    expect(change?.stored.length).toBeLessThan(100);
  });
});
