import { app, type Event, type WebContents } from "electron";

/** The page stays where it was loaded: no navigation, no further window, no guest inside of it. */
export function denyNavigation(): void {
  app.on("web-contents-created", (_event, contents: WebContents) => {
    const refuse = (event: Pick<Event, "preventDefault">) => {
      event.preventDefault();
    };
    contents.on("will-navigate", refuse);
    contents.on("will-frame-navigate", refuse);
    contents.on("will-redirect", refuse);
    contents.on("will-attach-webview", refuse);
    contents.setWindowOpenHandler(() => ({ action: "deny" }));
  });
}
