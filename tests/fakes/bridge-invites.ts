/** Codes, joins and opened links of the fake: the other side does what a test tells it to. */
import type { FailureCode } from "../../preload/contract/define.ts";
import type { CommandName, EventName, Events, Handlers } from "../../preload/contract/index.ts";
import type { Alarm, Invite, InviteRequest, Join, Scanned } from "../../preload/contract/invites.ts";

export type InvitesScenario = {
  codes?: Invite[];
  joins?: Join[];
  requests?: InviteRequest[];
  alarms?: Alarm[];
  /** Who has another identity than the one that was verified. */
  changed?: string[];
  /** Nothing to be recognised by is set up yet. */
  setupNeeded?: boolean;
  /** What certain texts are, beyond what their form says. */
  scans?: Record<string, Scanned>;
  /** Links that were opened before the window was there. */
  links?: string[];
};
type Names = "app.takeLink" | "file.save" | Extract<CommandName, `invites.${string}`>;
type Parts = {
  scenario: InvitesScenario;
  ownId: string;
  emit: <E extends EventName>(event: E, payload: Events[E]) => void;
  fail: (code: FailureCode, details?: unknown) => never;
};
export type FakeInvites = {
  /** The links that were made, oldest first. */
  links: string[];
  /** The join goes on. Without an id: the newest. */
  to(state: Join["state"], joinId?: string): void;
  use(tokenId: string, userId: string): void;
  ask(request: InviteRequest): void;
  alarm(alarm: Alarm): void;
  open(link: string): void;
  newest(): Invite | undefined;
};

const day = 86_400_000;
const lasts: Record<Invite["preset"], number | undefined> = {
  show: day,
  "personal-link": 7 * day,
  card: 90 * day,
  public: undefined,
};
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** As long as a real one's, and as little to be guessed from. */
export function inviteLink(userId: string, seed: number, letters = 93): string {
  const payload = Array.from({ length: letters }, (_, index) =>
    alphabet.charAt((Math.imul(index + 1, 2654435761 + seed * 40503) >>> 13) & 31),
  ).join("");
  return `matrix:u/${userId.slice(1)}?action=chat&chat.tessera.sj=${payload}`;
}

export function fakeInvites({ scenario, ownId, emit, fail }: Parts): {
  handlers: Pick<Handlers<CommandName>, Names>;
  fake: FakeInvites;
} {
  const codes = new Map((scenario.codes ?? []).map((code) => [code.tokenId, code]));
  const joins = new Map((scenario.joins ?? []).map((join) => [join.joinId, join]));
  const requests = new Map((scenario.requests ?? []).map((request) => [request.requestId, request]));
  const alarms = [...(scenario.alarms ?? [])];
  const waiting = [...(scenario.links ?? [])];
  const links: string[] = [];
  let count = 0;

  const change = (tokenId: string, next: Partial<Invite>): Invite => {
    const code = { ...(codes.get(tokenId) ?? fail("not-found")), ...next };
    codes.set(tokenId, code);
    emit("invites.changed", { invites: [code] });
    return code;
  };
  const scan = (text: string): Scanned => {
    const known = scenario.scans?.[text];
    if (known !== undefined) return known;
    const user = /^(?:matrix|tessera):u\/([^?]+)(?:\?.*chat\.tessera\.sj=([A-Z2-7]+))?/.exec(text);
    if (user !== null) {
      const userId = `@${user[1] ?? ""}`;
      if (user[2] === undefined) return { kind: "user", userId };
      return {
        ...{ kind: "invite", userId, inviteKind: "contact", own: userId === ownId },
        expiresAtMs: Date.now() + day,
      };
    }
    const room = /^matrix:r\/([^?]+)/.exec(text);
    if (room !== null) return { kind: "room", room: `#${room[1] ?? ""}`, via: [] };
    return text.startsWith("MATRIX") ? { kind: "verification" } : { kind: "unknown", reason: "not-a-code" };
  };
  const put = (join: Join): void => {
    joins.set(join.joinId, join);
    emit("invites.changed", { joins: [join] });
  };

  return {
    fake: {
      links,
      to(state, joinId) {
        const join = joinId === undefined ? [...joins.values()].at(-1) : joins.get(joinId);
        put({ ...(join ?? fail("not-found")), state });
      },
      use(tokenId, userId) {
        const known = codes.get(tokenId) ?? fail("not-found");
        change(tokenId, { uses: [...known.uses, userId] });
      },
      ask(request) {
        requests.set(request.requestId, request);
        emit("invites.changed", { requests: [request] });
      },
      alarm(alarm) {
        alarms.push(alarm);
        emit("invites.changed", { alarms: [alarm] });
      },
      open(link) {
        waiting.push(link);
        if (waiting.length === 1) emit("app.linkWaiting", {});
      },
      newest: () => [...codes.values()].at(-1),
    },
    handlers: {
      "app.takeLink": () => {
        const [text, ...others] = waiting.splice(0);
        return { ...(text === undefined ? {} : { text }), others: others.length };
      },
      "file.save": ({ base64 }) => ({ sizeBytes: atob(base64).length }),
      "invites.create": ({ kind, roomId, preset, label }) => {
        if (scenario.setupNeeded === true) fail("conflict", { kind: "setup-needed" });
        const tokenId = `token${(count += 1)}`;
        const now = Date.now();
        const lastsMs = lasts[preset];
        const code: Invite = {
          ...{ tokenId, kind, preset, state: "active", createdAtMs: now, uses: [], ownedHere: true },
          ...(roomId === undefined ? {} : { roomId }),
          ...(label === undefined ? {} : { label }),
          ...(lastsMs === undefined ? {} : { expiresAtMs: now + lastsMs }),
          ...(preset === "show" ? { verifyUntilMs: now + 600_000 } : {}),
        };
        codes.set(tokenId, code);
        const link = inviteLink(ownId, count, 93 + Math.ceil(((label ?? "").length * 8) / 5));
        links.push(link);
        emit("invites.changed", { invites: [code] });
        return { ...code, link };
      },
      "invites.list": () => [...codes.values()],
      // as if every device knew every code
      "invites.knownBy": () => [...codes.values()].filter((code) => code.state === "active"),
      "invites.withdraw": ({ tokenId }) => change(tokenId, { state: "withdrawn" }),
      "invites.revive": ({ tokenId }) => change(tokenId, { state: "active" }),
      "invites.show": ({ tokenId }) => {
        const code = codes.get(tokenId) ?? fail("not-found");
        return code.state === "active" ? { link: inviteLink(ownId, 99) } : fail("conflict", { kind: code.state });
      },
      "invites.keepOpen": ({ tokenId }) => change(tokenId, { verifyUntilMs: Date.now() + 600_000 }),
      "invites.inspect": (code) => scan("text" in code ? code.text : atob(code.bytes)),
      "invites.accept": ({ text, acceptIdentityChange }) => {
        const scanned = scan(text);
        if (scanned.kind !== "invite") return fail("bad-request");
        const { userId, own } = scanned;
        if (own) fail("conflict");
        if (scenario.changed?.includes(userId) === true && acceptIdentityChange !== true) fail("identity-changed");
        const joinId = `join${(count += 1)}`;
        put({ joinId, userId, state: { at: "inviter-verified" } });
        return { joinId };
      },
      // newest first, as the core has them
      "invites.joins": () => [...joins.values()].toReversed(),
      "invites.cancel": ({ joinId }) => {
        put({ ...(joins.get(joinId) ?? fail("not-found")), state: { at: "failed", code: "cancelled" } });
        return {};
      },
      "invites.contactOnly": ({ joinId }) => {
        put({ ...(joins.get(joinId) ?? fail("not-found")), state: { at: "done", result: "contact-only" } });
        return {};
      },
      "invites.requests": () => [...requests.values()],
      "invites.answer": ({ requestId }) => {
        requests.delete(requestId);
        emit("invites.changed", { requests: [...requests.values()] });
        return {};
      },
      "invites.alarms": () => [...alarms],
      "invites.putAway": ({ alarmId }) => {
        const at = alarms.findIndex((alarm) => alarm.alarmId === alarmId);
        if (at === -1) fail("not-found");
        alarms.splice(at, 1);
        emit("invites.changed", { alarms: [...alarms] });
        return {};
      },
    },
  };
}
