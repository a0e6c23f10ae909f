import { isObject, object } from "../json.ts";

const sections = ["device_keys", "master_keys", "self_signing_keys", "user_signing_keys"] as const;

/**
 * The answer of /keys/query without users that nobody asked for and without parts of the wrong type. Rust crypto judges each key by
 * itself, but refuses an answer as a whole for one such part: whoever can bring one in would stop every message to everybody.
 */
export function onlyAsked(question: unknown, answer: string): string {
  const asked = object(object(question)?.["device_keys"]);
  let parsed: unknown;
  try {
    parsed = JSON.parse(answer);
  } catch {
    return answer; // whoever reads it says what is wrong with it
  }
  if (asked === undefined || !isObject(parsed)) return answer;
  let clean = parsed["failures"] === undefined || isObject(parsed["failures"]);
  const kept: Record<string, unknown> = { ...parsed, ...(clean ? {} : { failures: {} }) };
  for (const name of sections) {
    const section = parsed[name];
    if (section === undefined) continue;
    const users = Object.entries(object(section) ?? {});
    const good = users.filter(
      ([userId, keys]) => Object.hasOwn(asked, userId) && (name !== "device_keys" || isObject(keys)),
    );
    if (isObject(section) && good.length === users.length) continue;
    clean = false;
    kept[name] = Object.fromEntries(good);
  }
  return clean ? answer : JSON.stringify(kept);
}
