import type { ProxySettings } from "../core/worker-port.ts";

/** Lower case wins where both are set. */
export function proxyFromEnvironment(environment: NodeJS.ProcessEnv): ProxySettings {
  const first = (...names: string[]) =>
    names.map((name) => environment[name]).find((value) => value !== undefined && value !== "");
  const all = first("all_proxy", "ALL_PROXY");
  const httpProxy = first("http_proxy", "HTTP_PROXY") ?? all;
  const httpsProxy = first("https_proxy", "HTTPS_PROXY") ?? all;
  const noProxy = first("no_proxy", "NO_PROXY");
  return {
    ...(httpProxy === undefined ? {} : { httpProxy }),
    ...(httpsProxy === undefined ? {} : { httpsProxy }),
    ...(noProxy === undefined ? {} : { noProxy }),
  };
}
