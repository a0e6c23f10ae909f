import type { Session, WebContents } from "electron";
import { isOwnAddress, isOwnBlob } from "./origin.ts";

/** The camera for our own page, to scan codes with; nothing else, for nobody else. */
export function denyPermissions(session: Session, isOurWindow: (contents: WebContents | null) => boolean): void {
  session.setPermissionRequestHandler((contents, permission, answer, details) => {
    const mediaTypes = "mediaTypes" in details ? details.mediaTypes : undefined;
    const cameraAlone = permission === "media" && mediaTypes?.length === 1 && mediaTypes[0] === "video";
    answer(cameraAlone && details.isMainFrame && isOurWindow(contents) && isOwnAddress(details.requestingUrl));
  });
  session.setPermissionCheckHandler(
    (contents, permission, requestingOrigin, details) =>
      permission === "media" &&
      details.mediaType === "video" &&
      details.isMainFrame &&
      isOurWindow(contents) &&
      isOwnAddress(requestingOrigin),
  );
  session.setDevicePermissionHandler(() => false);
}

/** The page has no network of its own: what it shows comes through the core. Dictionaries are closed off too, and
 *  downloads but for texts that the page itself made (a recovery key), which the system's own dialog asks about. */
export function denyNetwork(session: Session): void {
  session.webRequest.onBeforeRequest((details, answer) => {
    answer({ cancel: !/^(app|blob|devtools|chrome-devtools):/.test(details.url) });
  });
  session.on("will-download", (event, download) => {
    if (!isOwnBlob(download.getURL())) event.preventDefault();
  });
  session.setSpellCheckerEnabled(false);
}
