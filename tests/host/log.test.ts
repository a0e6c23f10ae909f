import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { describeError, openLog, redact } from "../../main/host/log.ts";
import { temporaryFolder } from "./folder.ts";

test.each([
  ["an access token", "got syt_YWxpY2U_abcDEFghi_1a2b3c"],
  ["a bearer header", "authorization: Bearer abcdef"],
  ["a token in an address", "GET /sync?access_token=abcdef&since=s1"],
  ["a key in base64", `key ${"Ab1+".repeat(10)}=`],
  ["a recovery key", "EsTj 3yST y93F SLpB jJsz eAFK s3fb vBuj"],
  ["a password in JSON", '{"password":"abcdef"}'],
])("%s does not get through", (_what, line) => {
  const secret = /syt_\S+|abcdef|(?:Ab1\+)+|EsTj.*$/.exec(line)?.[0] ?? "";
  expect(line).toContain(secret);
  expect(redact(line)).not.toContain(secret);
});

test("an ordinary line gets through as it is", () => {
  const line = "headless timeline.send ok 12.3 ms";
  expect(redact(line)).toBe(line);
});

test("of an error its message stays out, and so does that of its cause", () => {
  const error = new TypeError("the value hunter2", { cause: Object.assign(new Error("hunter3"), { code: "ENOENT" }) });
  const text = describeError(error);
  expect(text).toContain("TypeError");
  expect(text).toContain("ENOENT");
  expect(text).toContain("log.test.ts");
  expect(text).not.toContain("hunter");
});

test("one line is one line, whatever is in it; the file is for its owner alone", () => {
  const folder = temporaryFolder();
  const log = openLog(folder);
  log.write("info", "one\ntwo\u2028three\u001b[31m");
  log.close();
  const file = path.join(folder, "logs", "tessera.log");
  expect(readFileSync(file, "utf8").trimEnd().split("\n")).toHaveLength(1);
  expect(readFileSync(file, "utf8")).not.toContain("\u001b");
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("past 5 MB it begins anew and keeps one older file", () => {
  const folder = temporaryFolder();
  openLog(folder).close();
  const file = path.join(folder, "logs", "tessera.log");
  for (let round = 0; round < 3; round += 1) {
    writeFileSync(file, "x".repeat(5 * 1024 * 1024 + 1));
    const log = openLog(folder);
    log.write("info", `round ${round}`);
    log.close();
    expect(readFileSync(file, "utf8")).toContain(`round ${round}`);
  }
  expect(readdirSync(path.join(folder, "logs")).sort()).toEqual(["tessera.log", "tessera.old.log"]);
  expect(statSync(file).size).toBeLessThan(1000);
});
