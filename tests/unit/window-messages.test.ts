import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

type Messages = Record<string, unknown>;
const read = async (language: string): Promise<Messages> =>
  JSON.parse(await readFile(new URL(`../../renderer/messages/${language}.json`, import.meta.url), "utf8")) as Messages;
const inputs = (message: unknown): string[] => [...new Set(JSON.stringify(message).match(/\{\w+\}/g) ?? [])].sort();

test("both languages have the same messages with the same places to fill", async () => {
  const [en, de] = [await read("en"), await read("de")];
  expect(Object.keys(de)).toEqual(Object.keys(en));
  for (const key of Object.keys(en)) expect([key, inputs(de[key])]).toEqual([key, inputs(en[key])]);
});

test("no message is empty, and none shouts", async () => {
  for (const language of ["en", "de"]) {
    for (const [key, message] of Object.entries(await read(language))) {
      if (key === "$schema") continue;
      const text = JSON.stringify(message);
      expect([key, text]).not.toEqual([key, '""']);
      expect([key, /!|oops|hoppla/i.test(text)]).toEqual([key, false]);
    }
  }
});
