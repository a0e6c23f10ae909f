import type { Scanned } from "../../../../preload/contract/invites.ts";
import { isExpired } from "./codec.ts";
import { namespace, parseText } from "./link.ts";

const verificationHead = Buffer.from("MATRIX\u0002", "latin1");
const signInHead = Buffer.from("IO_ELEMENT_MSC4388", "latin1");

/** What was scanned, dropped, pasted or opened. Looks at nothing but the code itself: no network, no store, no effect. */
export function inspect(
  code: { text: string } | { bytes: Uint8Array },
  me: string,
  nowMs: number,
  ns = namespace,
): Scanned {
  const bytes = "bytes" in code ? Buffer.from(code.bytes) : Buffer.from(code.text, "latin1");
  if (bytes.subarray(0, signInHead.length).equals(signInHead)) return { kind: "sign-in" };
  if (bytes.subarray(0, verificationHead.length).equals(verificationHead)) {
    const mode = bytes[verificationHead.length] ?? 255;
    // modes 0 to 2 verify (client-server API, "QR code format"), 3 and 4 sign in (MSC4108)
    if (mode <= 2) return { kind: "verification" };
    return mode <= 4 ? { kind: "sign-in" } : { kind: "unknown", reason: "corrupt" };
  }
  const text = "text" in code ? code.text : strictText(code.bytes);
  if (text === undefined) return { kind: "unknown", reason: "not-a-code" };
  const parsed = parseText(text, ns);
  if (parsed.kind !== "invite") return parsed;
  const { kind, label, expiresAtMs } = parsed.code;
  if (isExpired(expiresAtMs, nowMs)) return { kind: "unknown", reason: "expired" };
  return {
    kind: "invite",
    userId: parsed.userId,
    inviteKind: kind,
    ...(label === "" ? {} : { label }),
    ...(expiresAtMs === 0 ? {} : { expiresAtMs }),
    own: parsed.userId === me,
  };
}

function strictText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
