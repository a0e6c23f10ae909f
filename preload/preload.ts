import { contextBridge, ipcRenderer } from "electron";
import type { Answer, EventMessage, Request } from "./contract/define.ts";

type Listener = (payload: unknown, account?: string) => void;

const listeners = new Map<string, Set<Listener>>();

ipcRenderer.on("core:event", (_event, message: EventMessage) => {
  for (const listener of listeners.get(message.event) ?? []) {
    try {
      listener(message.payload, message.account);
    } catch (error) {
      // one listener's failure is its own: the others are still told
      console.error(error);
    }
  }
});

/** Never rejects: an error loses its fields when it crosses into the page, so a failure is data. */
async function call(name: string, input: unknown, account?: string): Promise<Answer<unknown>> {
  const request: Omit<Request, "id"> = { name, input, ...(account === undefined ? {} : { account }) };
  try {
    return (await ipcRenderer.invoke("core:call", request)) as Answer<unknown>;
  } catch {
    return { ok: false, error: { code: "unexpected", message: "The app did not answer.", retryable: true } };
  }
}

function on(event: string, listener: Listener): () => void {
  const those = listeners.get(event) ?? new Set<Listener>();
  listeners.set(event, those);
  // a wrapper of its own, so that one function given twice is two subscriptions
  const own: Listener = (payload, account) => {
    listener(payload, account);
  };
  those.add(own);
  return () => {
    those.delete(own);
  };
}

contextBridge.exposeInMainWorld("core", { call, on });
