import { expect, test } from "vitest";
import { createGrants } from "../../main/host/grants.ts";

test("a grant opens its path once", () => {
  const grants = createGrants();
  const grant = grants.give("/a/file", "open");
  expect(grant).toMatch(/^[\w-]{22}$/);
  expect(grants.redeem(grant, "open")).toBe("/a/file");
  expect(grants.redeem(grant, "open")).toBeUndefined();
});

test("a grant for opening is none for saving, and is not used up by the attempt", () => {
  const grants = createGrants();
  const grant = grants.give("/a/file", "open");
  expect(grants.redeem(grant, "save")).toBeUndefined();
  expect(grants.redeem(grant, "open")).toBe("/a/file");
});

test("no two grants are alike, and a path is none", () => {
  const grants = createGrants();
  const given = new Set(Array.from({ length: 50 }, () => grants.give("/a/file", "save")));
  expect(given.size).toBe(50);
  expect(grants.redeem("/a/file", "save")).toBeUndefined();
});

test("of too many unused grants the oldest is forgotten", () => {
  const grants = createGrants(3);
  const [first, second] = [1, 2, 3, 4].map((n) => grants.give(`/file-${n}`, "open"));
  expect(grants.redeem(first ?? "", "open")).toBeUndefined();
  expect(grants.redeem(second ?? "", "open")).toBe("/file-2");
});
