import { app } from "electron";

const longestStopMs = 3000;

/** Before the app goes, `stop` has its time; signals and the last window's closing quit as a person would. */
export function quitInOrder(stop: () => Promise<void>): void {
  let state: "running" | "stopping" | "stopped" = "running";
  app.on("before-quit", (event) => {
    if (state === "stopped") return;
    event.preventDefault();
    if (state === "stopping") return;
    state = "stopping";
    const tooLong = new Promise<void>((resolve) => setTimeout(resolve, longestStopMs));
    void Promise.race([stop(), tooLong]).finally(() => {
      state = "stopped";
      app.quit();
    });
  });
  app.on("window-all-closed", () => {
    app.quit();
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      app.quit();
    });
}
