import { protocol, type Session } from "electron";
import { readWindowFile, windowHeaders } from "../host/window-files.ts";
import { appScheme, isOwnAddress } from "./origin.ts";

/** Must run before the app is ready. */
export function registerScheme(): void {
  protocol.registerSchemesAsPrivileged([
    { scheme: appScheme, privileges: { standard: true, secure: true, supportFetchAPI: true, codeCache: true } },
  ]);
}

/** Serves the built renderer, and nothing else, as app://tessera/. */
export function serveRenderer(session: Session, rendererFolder: string): void {
  session.protocol.handle(appScheme, async (request) => {
    const headers = windowHeaders();
    if (!isOwnAddress(request.url)) return new Response(null, { status: 403, headers });
    if (request.method !== "GET" && request.method !== "HEAD") return new Response(null, { status: 405, headers });
    const file = await readWindowFile(rendererFolder, new URL(request.url).pathname);
    if (file === undefined) return new Response(null, { status: 404, headers });
    return new Response(new Uint8Array(file.body), { headers: { ...headers, "content-type": file.mimeType } });
  });
}
