import { randomBytes } from "node:crypto";

export const sharedSecret = "shared-secret-of-a-throwaway-homeserver";

export type ConfigInput = {
  serverName: string;
  port: number;
  folder: string;
  /** false: the database lives in memory. */
  keepsData: boolean;
  /** Merged over the rest, object by object; arrays are replaced. */
  extra: Record<string, unknown>;
};

/**
 * The homeserver.yaml (as JSON, which YAML includes) of an instance made for speed, without rate limits or federation.
 * `public_baseurl` is left out: with it Synapse tells clients its own address at sign-in, and they would leave the
 * fault proxy for it.
 */
export function homeserverConfig({ serverName, port, folder, keepsData, extra }: ConfigInput): Record<string, unknown> {
  const base: Record<string, unknown> = {
    server_name: serverName,
    serve_server_wellknown: false,
    report_stats: false,
    pid_file: `${folder}/homeserver.pid`,
    signing_key_path: `${folder}/signing.key`,
    media_store_path: `${folder}/media`,
    log_config: `${folder}/log.yaml`,
    database: { name: "sqlite3", args: { database: keepsData ? `${folder}/homeserver.db` : ":memory:" } },
    listeners: [
      {
        port,
        type: "http",
        tls: false,
        bind_addresses: ["127.0.0.1"],
        resources: [{ names: ["client", "keys"], compress: false }],
      },
    ],
    trusted_key_servers: [],
    suppress_key_server_warning: true,
    federation_domain_whitelist: [],
    registration_shared_secret: sharedSecret,
    macaroon_secret_key: "macaroon-secret-of-a-throwaway-homeserver",
    form_secret: "form-secret-of-a-throwaway-homeserver",
    enable_registration: true,
    enable_registration_without_verification: true,
    bcrypt_rounds: 4,
    password_config: { enabled: true },
    url_preview_enabled: false,
    enable_metrics: false,
    presence: { enabled: true },
    allow_guest_access: false,
    user_directory: { enabled: true, search_all_users: true },
    ui_auth: { session_timeout: 0 },
    max_event_delay_duration: "24h",
    ...withoutRateLimits(),
    experimental_features: {
      msc3814_enabled: true,
      msc4222_enabled: true,
      msc3266_enabled: true,
      msc4133_enabled: true,
      msc4354_enabled: true,
      msc4155_enabled: true,
      msc4306_enabled: true,
    },
  };
  return merged(base, extra);
}

export function logConfig(folder: string): Record<string, unknown> {
  return {
    version: 1,
    formatters: { line: { format: "%(asctime)s %(levelname)s %(name)s %(message)s" } },
    handlers: { file: { class: "logging.FileHandler", filename: `${folder}/homeserver.log`, formatter: "line" } },
    root: { level: "WARNING", handlers: ["file"] },
    disable_existing_loggers: false,
  };
}

export function newSigningKey(): string {
  const seed = randomBytes(32).toString("base64").replace(/=+$/, "");
  return `ed25519 a_${randomBytes(2).toString("hex")} ${seed}\n`;
}

function withoutRateLimits(): Record<string, unknown> {
  const free = { per_second: 100_000, burst_count: 100_000 };
  const plain = [
    "message",
    "registration",
    "registration_token_validity",
    "admin_redaction",
    "joins_per_room",
    "key_requests",
    "3pid_validation",
    "third_party_invite",
    "media_create",
    "delayed_event_mgmt",
    "room_creation",
    "reports",
    "user_directory",
  ];
  return {
    ...Object.fromEntries(plain.map((name) => [`rc_${name}`, free])),
    rc_login: { address: free, account: free, failed_attempts: free },
    rc_joins: { local: free, remote: free },
    rc_invites: { per_room: free, per_user: free, per_issuer: free },
    rc_presence: { per_user: free },
  };
}

function merged(base: Record<string, unknown>, extra: Record<string, unknown>): Record<string, unknown> {
  const result = { ...base };
  for (const [name, value] of Object.entries(extra)) {
    const before = result[name];
    result[name] = isObject(before) && isObject(value) ? merged(before, value) : value;
  }
  return result;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
