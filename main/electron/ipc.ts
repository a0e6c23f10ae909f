import { type BrowserWindow, ipcMain, type IpcMainInvokeEvent } from "electron";
import type { Answer, Failure } from "../../preload/contract/define.ts";
import type { Host } from "../host/host.ts";
import type { Caller } from "../host/router.ts";
import { isOwnAddress } from "./origin.ts";

const refusal: Failure = { code: "forbidden", message: "Only the app's own page may call.", retryable: false };

const caller: Caller = { door: "electron", isWindow: true };

/**
 * Joins window and host: one channel for calls, one for events. `window` answers undefined while there is none; calls
 * that come while the host starts wait for it.
 */
export function joinWindowToHost(window: () => BrowserWindow | undefined, starting: Promise<Host>): void {
  let lastId = 0;
  ipcMain.handle("core:call", async (event, request: unknown): Promise<Answer<unknown>> => {
    if (!isOwnPage(event, window())) return { ok: false, error: refusal };
    // over IPC each answer finds its caller by itself, so the page sends no id
    const asked = typeof request === "object" && request !== null ? { ...request, id: ++lastId } : request;
    const response = await (await starting).handle(asked, caller);
    return response.ok ? { ok: true, value: response.value } : { ok: false, error: response.error };
  });
  void starting.then(
    (host) =>
      host.on((message) => {
        const contents = window()?.webContents;
        if (contents !== undefined && !contents.isDestroyed()) contents.send("core:event", message);
      }),
    // whoever started the host tells the person why it did not
    () => undefined,
  );
}

/** Each call is checked: the main frame of our one window, and it shows our page. */
function isOwnPage(event: IpcMainInvokeEvent, window: BrowserWindow | undefined): boolean {
  const frame = event.senderFrame;
  if (window === undefined || window.isDestroyed() || frame === null) return false;
  const isMainFrame = frame.parent === null && frame === window.webContents.mainFrame;
  return isMainFrame && event.sender === window.webContents && isOwnAddress(frame.url) && isOwnAddress(frame.origin);
}
