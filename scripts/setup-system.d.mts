export type SystemPart = "chromium" | "keyring" | "libsecret" | "python";
export function ensureSystem(wanted: SystemPart[]): Promise<void>;
export function chromiumPath(): string | undefined;
