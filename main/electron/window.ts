import path from "node:path";
import { app, BrowserWindow, nativeTheme, screen } from "electron";
import { appOrigin } from "./origin.ts";
import { keepWindowState, readWindowState, smallest } from "./window-state.ts";

export function openWindow(preload: string, profile: string): BrowserWindow {
  const stateFile = path.join(profile, "window-state.json");
  const { maximized, ...bounds } = readWindowState(
    stateFile,
    screen.getAllDisplays().map((display) => display.workArea),
  );
  const window = new BrowserWindow({
    ...bounds,
    minWidth: smallest.width,
    minHeight: smallest.height,
    show: false,
    title: "Tessera",
    autoHideMenuBar: true,
    // what shows for the moment before the page has painted
    backgroundColor: nativeTheme.shouldUseDarkColors ? "#15191a" : "#fbfcfc",
    webPreferences: {
      preload,
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      nodeIntegrationInSubFrames: false,
      nodeIntegrationInWorker: false,
      webviewTag: false,
      webSecurity: true,
      navigateOnDragDrop: false,
      spellcheck: false,
      devTools: !app.isPackaged,
    },
  });
  if (maximized) window.maximize();
  keepWindowState(window, stateFile);
  window.once("ready-to-show", () => {
    window.show();
  });
  void window.loadURL(`${appOrigin}/`);
  return window;
}
