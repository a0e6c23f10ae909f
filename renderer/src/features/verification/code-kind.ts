/** What a scanned code is for, so that a wrong one can be told from a broken one. Pure; the core checks what it is given again. */

/** `sign-in`: signs another device in (MSC4108) · `link`: opens a page, as invitations do · `other`: nothing that is known here. */
export type CodeKind = "verification" | "newer-verification" | "sign-in" | "link" | "other";

const magic = [...new TextEncoder().encode("MATRIX")];
const version = 2;

/** Source: client-server API, "QR code format": MATRIX, a version, a mode. */
export function codeKind(bytes: Uint8Array): CodeKind {
  if (magic.every((byte, index) => bytes[index] === byte)) {
    const [codeVersion, mode = 0xff] = bytes.subarray(magic.length);
    if (codeVersion !== version) return "newer-verification";
    if (mode <= 2) return "verification";
    return mode <= 4 ? "sign-in" : "newer-verification";
  }
  const text = new TextDecoder().decode(bytes.subarray(0, 16));
  if (text.startsWith("IO_ELEMENT_MSC")) return "sign-in";
  return /^[a-z][a-z0-9+.-]{1,14}:/i.test(text) ? "link" : "other";
}
