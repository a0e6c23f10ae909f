import { readFile } from "node:fs/promises";
import path from "node:path";

const mimeTypes: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".woff2": "font/woff2",
  ".mp3": "audio/mpeg",
};

/** `connect`: what the page may reach besides its own origin (the loopback door's WebSocket). */
export function contentSecurityPolicy(connect: string[] = []): string {
  return [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' blob:",
    `connect-src ${["'self'", ...connect].join(" ")}`,
    "font-src 'self'",
    "media-src 'self' blob:",
    "worker-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** The headers of every answer that a window's page is made of. */
export function windowHeaders(connect: string[] = []): Record<string, string> {
  return {
    "content-security-policy": contentSecurityPolicy(connect),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), serial=(), hid=()",
  };
}

export type WindowFile = { name: string; mimeType: string; body: Buffer };

/**
 * A file of the built renderer. `pathname` as it stands in a URL, percent-encoded. Undefined where there is none, and
 * for whatever tries to leave the folder or names a hidden file.
 */
export async function readWindowFile(folder: string, pathname: string): Promise<WindowFile | undefined> {
  const name = plainName(pathname);
  if (name === undefined) return undefined;
  const mimeType = mimeTypes[path.extname(name)];
  if (mimeType === undefined) return undefined;
  try {
    return { name, mimeType, body: await readFile(path.join(folder, name)) };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function plainName(pathname: string): string | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
  const name = decoded === "/" ? "index.html" : decoded.replace(/^\//, "");
  const whole = /^[\w.@/-]+$/.test(name) && name.split("/").every((part) => /^[^.]/.test(part));
  return whole ? name : undefined;
}

function isMissing(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
}
