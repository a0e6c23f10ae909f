import { expect, test } from "vitest";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { expectAccessible, standsStill, takesPointerWhileScrolling, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const row = (roomId: string): string => `[data-room="${roomId}"]`;

test("a room shows its name, last message, time, unread count and mention", async () => {
  const { page, trouble } = await open();
  const lab = page.locator(row(roomIds.lab));
  await lab.getByText("Omar: I’ll bring the board").waitFor();
  expect(await lab.getByText("3 unread messages").count()).toBe(1);
  expect(await lab.getByTitle("You were mentioned").count()).toBe(1);
  await page.locator(row(roomIds.mum)).getByText("You: Landed, all good").waitFor();
  await page.locator(row(roomIds.house)).getByText("Lea: Picture").waitFor();
  expect(await page.title()).toMatch(/^\(1\) Tessera$/);
  expect(trouble).toEqual([]);
});

test("opening a room marks it read, shows where the unread begin, and is remembered", async () => {
  const { page } = await open();
  await page.locator(row(roomIds.lab)).click();
  await page.getByRole("separator", { name: "New" }).waitFor();
  await page.locator(row(roomIds.lab)).getByText("3 unread messages").waitFor({ state: "detached" });
  const remembered = await page.evaluate(
    () => window.fake.calls.filter((one) => one.name === "rooms.lastOpened").at(-1)?.input,
  );
  expect(remembered).toEqual({ roomId: roomIds.lab });
});

test("the room that was open last is open again", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.mum } });
  await page.getByRole("heading", { name: "Mum" }).waitFor();
});

test("a click while the list still scrolls is not lost", async () => {
  const { page } = await open({ scenario: { rooms: "many" } });
  await page.getByRole("option").first().waitFor();
  await standsStill(page.getByRole("listbox"));
  expect(await takesPointerWhileScrolling(page.getByRole("listbox"), "[data-room]")).toBe(true);
});

test("a new message lifts its room to the top and counts", async () => {
  const { page } = await open();
  await page.locator(row(roomIds.mum)).waitFor();
  await page.evaluate((roomId) => window.fake.receive(roomId, "Call me when you can"), roomIds.mum);
  const first = page.getByRole("option").first();
  await first.getByText("Call me when you can").waitFor();
  expect(await first.getAttribute("data-room")).toBe(roomIds.mum);
  await first.getByText("1 unread message", { exact: true }).waitFor();
});

test("the filter finds without regard to accents, and says when nothing matches", async () => {
  const { page } = await open();
  await page.getByLabel("Search chats").fill("sudstadt");
  await page.locator(row(roomIds.choir)).waitFor();
  expect(await page.getByRole("option").count()).toBe(1);
  await page.getByLabel("Search chats").fill("zzz");
  await page.getByText("No chat matches “zzz”.").waitFor();
  await page.getByRole("button", { name: "Show all chats" }).click();
  await page.locator(row(roomIds.ana)).waitFor();
});

test("the switcher opens with its keys and jumps", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.ana } });
  await page.getByRole("heading", { name: "Ana Ruiz" }).waitFor();
  await page.keyboard.press("Control+k");
  const field = page.getByRole("combobox", { name: "Jump to a chat" });
  await field.fill("lab");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
  expect(await field.count()).toBe(0);
});

test("an invitation is accepted into its room, another declined", async () => {
  const { page } = await open();
  const invitations = page.getByRole("region", { name: /Invitations/ });
  await invitations.getByRole("button", { name: "Decline the invitation to Tobias Krüger" }).click();
  await page.getByText("Invitation to “Tobias Krüger” declined").waitFor();
  await invitations.getByRole("button", { name: "Accept the invitation to Reading circle" }).click();
  await page.getByRole("heading", { name: "Reading circle" }).waitFor();
  await invitations.waitFor({ state: "detached" });
});

test("a direct chat is started with a name alone, and not twice", async () => {
  const { page } = await open();
  await page.getByRole("button", { name: "New chat" }).click();
  await page.getByLabel("Their address").fill("@nobody");
  await page.getByLabel("Their address").fill("not an address");
  await page.getByText("An address looks like @ana:example.org.").waitFor();
  await page.getByLabel("Their address").fill("sven");
  await page.getByRole("button", { name: "Start chat" }).click();
  await page.getByRole("heading", { name: "@sven:tessera.example" }).waitFor();
  await page.keyboard.press("Control+n");
  await page.getByLabel("Their address").fill("@ana:example.org");
  await page.getByRole("button", { name: "Start chat" }).click();
  await page.getByRole("heading", { name: "Ana Ruiz" }).waitFor();
  const made = await page.evaluate(() =>
    window.fake.calls.filter((one) => one.name === "rooms.create").map((one) => one.input),
  );
  expect(made).toEqual([{ kind: "dm", invite: ["@sven:tessera.example"] }]);
});

test("a group is encrypted unless one says otherwise", async () => {
  const { page } = await open();
  await page.getByRole("button", { name: "New chat" }).click();
  await page.getByText("Group", { exact: true }).click();
  await page.getByLabel("Name of the group").fill("Workshop");
  await page.getByRole("textbox", { name: "People" }).fill("@ana:example.org");
  await page.keyboard.press("Enter");
  await page.getByRole("textbox", { name: "People" }).fill("omar");
  await page.getByRole("button", { name: "Start chat" }).click();
  await page.getByRole("heading", { name: "Workshop" }).waitFor();
  const made = await page.evaluate(() => window.fake.calls.find((one) => one.name === "rooms.create")?.input);
  expect(made).toEqual({
    kind: "group",
    name: "Workshop",
    invite: ["@ana:example.org", "@omar:tessera.example"],
    encrypted: true,
  });
});

test("the panel lists people with their part, invites, and leaves after asking", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.lab } });
  await page.getByRole("button", { name: "People", exact: true }).click();
  const people = page.getByRole("list", { name: "People" });
  await people.getByText("Omar Haddad").waitFor();
  expect(await people.getByRole("img", { name: "Verified" }).count()).toBe(1);
  await people.getByText("Mara Lindqvist (you)").waitFor();
  await people.getByText("Invited", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Invite someone" }).click();
  await page.getByLabel("Their address").fill("@sven:example.org");
  await page.keyboard.press("Enter");
  await people.getByText("@sven:example.org").first().waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Leave this chat" }).click();
  await page.getByRole("dialog").getByText("You will not receive new messages from it.").waitFor();
  await page.getByRole("button", { name: "Leave", exact: true }).click();
  await page.locator(row(roomIds.lab)).waitFor({ state: "detached" });
  await page.getByText("Choose a chat to read and write.").waitFor();
});

test("of a thousand rooms only those on screen are drawn, and the last can be reached by key", async () => {
  const { page } = await open({ scenario: { rooms: "many" } });
  await page.getByRole("option").first().waitFor();
  expect(await page.getByRole("option").count()).toBeLessThan(40);
  await page.getByRole("listbox", { name: "Chats" }).focus();
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Room 0999" }).waitFor();
});

test("with no rooms there is one sentence and one next step", async () => {
  const { page } = await open({ scenario: { rooms: "none" } });
  await page.getByText("No chats yet. Write to someone whose address you know.").waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Start chat" }).click();
  await page.getByRole("dialog", { name: "New chat" }).waitFor();
});

test("a list that cannot be read says so and is tried again", async () => {
  const { page } = await open({ scenario: { failing: { "rooms.list": "disk-full" } } });
  await page.getByText("The disk is full").waitFor();
  await page.evaluate(() => {
    window.fake.failing = {};
  });
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator(row(roomIds.ana)).waitFor();
});

test("while loading is slow a skeleton stands in, while it is quick nothing flashes", async () => {
  const slow = await open({ scenario: { latencyMs: 900 } });
  await slow.page.getByRole("listbox", { name: "Chats" }).waitFor();
  const { page } = await open({ scenario: { latencyMs: 20 } });
  await page.locator(row(roomIds.mum)).waitFor();
  await page.evaluate(() => {
    const seen = window as unknown as { skeletons: number };
    seen.skeletons = 0;
    new MutationObserver(() => (seen.skeletons += document.querySelectorAll(".skeleton, .skeletons").length)).observe(
      document,
      { subtree: true, childList: true },
    );
  });
  await page.locator(row(roomIds.mum)).click();
  await page.getByRole("heading", { name: "Mum" }).waitFor();
  await page.getByRole("log").getByText("Landed, all good").waitFor();
  expect(await page.evaluate(() => (window as unknown as { skeletons: number }).skeletons)).toBe(0);
});

test("in a narrow window one column shows at a time, with a way back", async () => {
  const { page } = await open({ width: 640, scenario: { lastOpened: roomIds.ana } });
  await page.locator(row(roomIds.lab)).click();
  await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
  expect(await page.getByRole("listbox", { name: "Chats" }).count()).toBe(0);
  await page.getByRole("button", { name: "Back" }).click();
  await page.locator(row(roomIds.ana)).waitFor();
});

test("the width of the list is changed by pointer and by key, and kept", async () => {
  const { page } = await open();
  const splitter = page.getByRole("separator", { name: "Width of the chat list" });
  await splitter.focus();
  await page.keyboard.press("ArrowRight");
  expect(await splitter.getAttribute("aria-valuenow")).toBe("328");
  const box = await splitter.boundingBox();
  if (box === null) throw new Error("no splitter on screen");
  await page.mouse.move(box.x, 300);
  await page.mouse.down();
  await page.mouse.move(box.x + 500, 300, { steps: 4 });
  await page.mouse.up();
  expect(await splitter.getAttribute("aria-valuenow")).toBe("400");
  await expect
    .poll(() => page.evaluate(() => window.fake.calls.filter((one) => one.name === "app.preferences").at(-1)?.input))
    .toEqual({ roomsWidthPx: 400 });
});

for (const width of [1180, 600])
  test(`whoever is removed from the open chat is told, and the list is there (${width} px)`, async () => {
    const { page } = await open({ width });
    await page.locator(row(roomIds.lab)).click();
    await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
    await page.evaluate((roomId) => {
      window.fake.removed(roomId);
    }, roomIds.lab);
    await page.getByText("You are no longer in “Lab meeting”.").waitFor();
    await page.getByRole("listbox", { name: "Chats" }).waitFor();
    expect(await page.locator(row(roomIds.lab)).count()).toBe(0);
    expect(await page.getByRole("heading", { name: "Lab meeting" }).count()).toBe(0);
  });
