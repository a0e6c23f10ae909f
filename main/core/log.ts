/** Where core's log lines go: the worker passes them to the host. Names, codes, counts and durations alone; never a body, key or token. */
export type LogLevel = "debug" | "info" | "warn" | "error";
type Sink = (level: LogLevel, text: string) => void;

let sink: Sink = () => undefined;
export const setLogSink = (to: Sink) => {
  sink = to;
};

export const log = {
  debug: (text: string) => {
    sink("debug", text);
  },
  info: (text: string) => {
    sink("info", text);
  },
  warn: (text: string, error?: unknown) => {
    sink("warn", error === undefined ? text : `${text}: ${describe(error)}`);
  },
  error: (text: string, error?: unknown) => {
    sink("error", error === undefined ? text : `${text}: ${describe(error)}`);
  },
};

/** Names, codes and stack positions of an error and its causes; messages may quote what a server or a caller wrote, so they stay out. */
export function describe(error: unknown): string {
  const parts: string[] = [];
  for (let link: unknown = error, depth = 0; link instanceof Error && depth < 5; link = link.cause, depth++) {
    const fields = new Map<string, unknown>(Object.entries(link));
    const code = ["code", "errcode", "status", "httpStatus"]
      .map((k) => fields.get(k))
      .filter((x) => typeof x === "string" || typeof x === "number");
    const frames = (link.stack ?? "")
      .split("\n")
      .filter((line) => /^\s+at /.test(line))
      .slice(0, 6);
    parts.push(`${link.name} ${code.join(" ")} ${frames.map((f) => f.trim()).join(" < ")}`);
  }
  return parts.length === 0 ? typeof error : parts.join(" caused by ");
}
