/** People and conversations of the fake: believable ones in English and German, an account of a thousand rooms, and hostile ones. */
import type { Member, Room, UserTrust } from "../../preload/contract/rooms.ts";
import type { Item, StateChange } from "../../preload/contract/timeline.ts";
import { hostileItems, hostileRoom } from "./bridge-hostile.ts";

export type FakeRoom = { room: Room; items: Item[]; members: Member[] };

export const own = { userId: "@mara:tessera.example", name: "Mara Lindqvist" };

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

type Line = [from: string, agoMs: number, body: string, more?: Partial<Item>];

const names: Record<string, string> = {
  me: own.name,
  ana: "Ana Ruiz",
  omar: "Omar Haddad",
  priya: "Priya Nair",
  jonas: "Jonas Weber",
  jo: "Jo Castellano",
  lea: "Lea Brandt",
  mum: "Mum",
  tobi: "Tobias Krüger",
};
const userOf = (who: string): string => (who === "me" ? own.userId : `@${who}:example.org`);

function itemsOf(roomId: string, lines: Line[]): Item[] {
  const now = Date.now();
  return lines.map(([who, agoMs, body, more], index) => ({
    ...{
      itemId: `$${roomId.slice(1, 5)}${index}`,
      eventId: `$${roomId.slice(1, 5)}${index}`,
      roomId,
      sender: userOf(who),
    },
    ...{
      senderName: names[who] ?? who,
      sentAtMs: now - agoMs,
      state: "sent" as const,
      kind: "text" as const,
      body,
      reactions: [],
      order: index,
    },
    encryption: { at: "encrypted" as const, shield: "none" as const },
    ...more,
  }));
}

function memberOf(
  who: string,
  more: Partial<Omit<Member, "trust">> & { identity?: UserTrust["identity"] } = {},
): Member {
  const { identity = "pinned", ...rest } = more;
  const userId = userOf(who);
  return { userId, name: names[who] ?? who, membership: "join", powerLevel: 0, trust: { userId, identity }, ...rest };
}

function roomOf(
  roomId: string,
  kind: "dm" | "group",
  name: string,
  items: Item[],
  members: Member[],
  more: Partial<Room> = {},
): FakeRoom {
  const latest = items.at(-1);
  const other = members.find((member) => member.userId !== own.userId);
  return {
    items,
    members,
    room: {
      ...{
        roomId,
        kind,
        name,
        membership: "join",
        encrypted: true,
        unread: { messages: 0, mentions: 0 },
        muted: false,
        favourite: false,
      },
      ...{ members: members.length, lastActivityMs: latest?.sentAtMs ?? 0 },
      ...(latest === undefined ? {} : { latest }),
      ...(kind === "dm" && other !== undefined ? { directUserId: other.userId } : {}),
      ...more,
    },
  };
}

const state = (change: StateChange): Partial<Item> => ({ kind: "state", change });

export const roomIds = {
  ana: "!anaruiz:example.org",
  lab: "!labmeeting:example.org",
  mum: "!mum:example.org",
  walking: "!walking:example.org",
  house: "!house14:example.org",
  choir: "!chor:example.org",
  open: "!openboard:example.org",
  history: "!history:example.org",
  invited: "!reading:example.org",
  invitedDm: "!tobias:example.org",
};

function anaRoom(): FakeRoom {
  const { ana } = roomIds;
  const now = Date.now();
  const items = itemsOf(ana, [
    ["ana", 25 * hour, "Back in Lisbon next week. Shall we do the workshop together after all?"],
    ["me", 25 * hour - 3 * minute, "Yes, gladly. I can take the first half."],
    ["me", 25 * hour - 4 * minute, "And the room is booked until six, so we have time for questions."],
    ["ana", 24.6 * hour, "Perfect. I’ll bring the good adapter this time."],
    ["ana", 52 * minute, "Morning. Did the new laptop take your old messages?"],
    ["ana", 51 * minute, "I still have the photos from Lisbon if not."],
    ["me", 34 * minute, "All of them. Typed the recovery key, went for coffee, came back."],
    ["me", 33 * minute, "Took eleven seconds longer than the coffee machine.", { readBy: [userOf("ana")] }],
    [
      "ana",
      21 * minute,
      "",
      {
        kind: "undecryptable",
        undecryptable: {
          reason: "missing-key",
          sinceMs: now - 21 * minute,
          lastTryMs: now - 40_000,
          nextTryMs: now + 50_000,
          tried: ["own-devices"],
        },
        encryption: { at: "encrypted", device: "KDESKTOPAN", shield: "none" },
      },
    ],
    [
      "ana",
      9 * minute,
      "The outline, so that we don’t both prepare the same:\n1. what changed since spring\n2. the numbers\n3. questions\nSlides are at https://slides.example.org/workshop",
      {
        html: 'The outline, so that we don’t both prepare the same:<ol><li>what changed since spring</li><li>the <strong>numbers</strong></li><li>questions</li></ol><p>Slides are at <a href="https://slides.example.org/workshop">slides.example.org/workshop</a></p>',
      },
    ],
    ["me", 4 * minute, "Lovely. I’ll take the numbers."],
    ["ana", 2 * minute, "The slides are in the folder, page 12 is the one I worry about."],
  ]);
  return roomOf(ana, "dm", "Ana Ruiz", items, [
    memberOf("me", { powerLevel: 100 }),
    memberOf("ana", { powerLevel: 100, identity: "verified" }),
  ]);
}

function labRoom(): FakeRoom {
  const { lab } = roomIds;
  const lines: Line[] = [
    ["omar", 40 * day, "", state({ kind: "created" })],
    ["omar", 40 * day - 1000, "", state({ kind: "encrypted" })],
    ["omar", 40 * day - 2000, "", state({ kind: "invited", userId: own.userId, name: own.name })],
    ["me", 40 * day - hour, "", state({ kind: "joined", userId: own.userId, name: own.name })],
    ["priya", 39 * day, "", state({ kind: "joined", userId: userOf("priya"), name: "Priya Nair" })],
    ["priya", 2 * day, "The new sensor boards are here. Three of them, all alive."],
    ["omar", 2 * day - 4 * minute, "Already? I had them down for next month."],
    ["priya", 2 * day - 6 * minute, "I asked nicely."],
    ["me", 2 * day - 20 * minute, "I can bring up the first one on Thursday."],
    ["jonas", 26 * hour, "Ich bin morgen erst ab zwei da, der Zug hat wieder eine Baustelle."],
    ["omar", 3 * hour, "Shall we move today’s meeting then?"],
    [
      "priya",
      2.9 * hour,
      "Fine for me. Mara, could you share the noise figures beforehand?",
      {
        mentionsMe: true,
        html: 'Fine for me. <a href="https://matrix.to/#/@mara:tessera.example">Mara Lindqvist</a>, could you share the noise figures beforehand?',
      },
    ],
    [
      "me",
      2.8 * hour,
      "Will do. `rms` is down to 3.1, by the way.",
      { html: "Will do. <code>rms</code> is down to 3.1, by the way." },
    ],
    ["jonas", 36 * minute, "Danke. Dann schaffe ich es noch zur Post."],
    ["omar", 32 * minute, "Moved to 14:30, same room."],
    ["omar", 31 * minute, "I’ll bring the board with the loose connector."],
  ];
  const people = [
    memberOf("omar", { powerLevel: 100, identity: "verified" }),
    memberOf("me", { powerLevel: 50 }),
    memberOf("priya"),
    memberOf("jonas"),
  ];
  const waiting = memberOf("lea", { membership: "invite" });
  return roomOf(lab, "group", "Lab meeting", itemsOf(lab, lines), [...people, waiting], {
    unread: { messages: 3, mentions: 1 },
    members: 4,
  });
}

/** A long history, to page back through. */
function historyRoom(): FakeRoom {
  const lines: Line[] = Array.from({ length: 420 }, (_, index) => {
    const who = index % 7 < 3 ? "jo" : index % 7 < 5 ? "me" : "lea";
    const long =
      index % 11 === 0
        ? " It goes on for a while, since some things take more than one line to say properly, and this is one of them."
        : "";
    return [who, 9 * day + (440 - index) * 50 * minute, `Message number ${index + 1}.${long}`];
  });
  return roomOf(roomIds.history, "group", "Sailing 2026", itemsOf(roomIds.history, lines), [
    memberOf("me"),
    memberOf("jo", { powerLevel: 100 }),
    memberOf("lea"),
  ]);
}

function someRooms(): FakeRoom[] {
  const { mum, walking, house, choir, open, invited, invitedDm } = roomIds;
  const invite = (roomId: string, kind: "dm" | "group", name: string, inviter: string): FakeRoom =>
    roomOf(roomId, kind, name, [], [memberOf(inviter), memberOf("me", { membership: "invite" })], {
      ...{ membership: "invite", inviter: userOf(inviter), lastActivityMs: Date.now() - 3 * hour },
    });
  const walk = itemsOf(walking, [["jo", 4 * day, "Bring boots, it will be wet."]]);
  const post = itemsOf(house, [
    [
      "lea",
      5 * day,
      "IMG_2041.jpg",
      { kind: "image", file: { name: "IMG_2041.jpg", mime: "image/jpeg", sizeBytes: 812_345 } },
    ],
  ]);
  const chor = itemsOf(choir, [
    ["jonas", 6 * day, "Probe am Dienstag fällt aus, dafür Mittwoch um 19 Uhr in der Aula."],
  ]);
  const board = itemsOf(open, [["tobi", 8 * day, "The spring programme is online.", { encryption: { at: "none" } }]]);
  return [
    anaRoom(),
    labRoom(),
    roomOf(
      mum,
      "dm",
      "Mum",
      itemsOf(mum, [
        ["mum", 3 * day, "Have you landed?"],
        ["me", 3 * day - hour, "Landed, all good"],
      ]),
      [memberOf("me"), memberOf("mum", { identity: "verified" })],
    ),
    roomOf(walking, "group", "Walking group", walk, [memberOf("me"), memberOf("jo"), memberOf("lea")], {
      muted: true,
      unread: { messages: 12, mentions: 0 },
    }),
    roomOf(house, "group", "House 14", post, [memberOf("me"), memberOf("lea")]),
    roomOf(choir, "group", "Kammerchor Südstadt", chor, [memberOf("me"), memberOf("jonas", { powerLevel: 100 })]),
    roomOf(open, "group", "Neighbourhood notices", board, [memberOf("me"), memberOf("tobi", { powerLevel: 100 })], {
      encrypted: false,
    }),
    historyRoom(),
    invite(invited, "group", "Reading circle", "priya"),
    invite(invitedDm, "dm", "Tobias Krüger", "tobi"),
  ];
}

function manyRooms(): FakeRoom[] {
  return Array.from({ length: 1000 }, (_, index) => {
    const roomId = `!many${index}:example.org`;
    const lines: Line[] = Array.from({ length: 30 }, (__, at) => [
      at % 3 === 0 ? "me" : "jo",
      index * 7 * minute + (30 - at) * 11 * minute,
      `Message ${at} of room ${index}`,
    ]);
    const unread = { messages: index % 9 === 0 ? index % 5 : 0, mentions: 0 };
    return roomOf(
      roomId,
      "group",
      `Room ${String(index).padStart(4, "0")}`,
      itemsOf(roomId, lines),
      [memberOf("me"), memberOf("jo")],
      { unread },
    );
  });
}

export function fakeRooms(kind: "some" | "none" | "many" | "hostile"): FakeRoom[] {
  if (kind === "none") return [];
  if (kind === "many") return manyRooms();
  if (kind === "hostile") {
    const items = itemsOf(
      hostileRoom.roomId,
      hostileItems.map((more, index) => ["jo", (hostileItems.length - index) * minute, "", more]),
    );
    return [
      roomOf(hostileRoom.roomId, "group", hostileRoom.name, items, [
        memberOf("me"),
        { ...memberOf("jo"), name: hostileRoom.memberName },
      ]),
    ];
  }
  return someRooms();
}
