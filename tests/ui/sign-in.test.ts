import { expect, test } from "vitest";
import { expectAccessible, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const signedOut = { account: "signed-out" } as const;

test("a server is found while one types, and the right password opens the chats", async () => {
  const { page, trouble } = await open({ scenario: signedOut });
  expect(await page.getByLabel("Server").evaluate((node) => node === document.activeElement)).toBe(true);
  await page.getByLabel("Server").fill("example.org");
  await page.getByText("Found matrix.example.org").waitFor();
  await page.getByLabel("User name").fill("mara");
  await page.getByLabel("Password").fill("correct");
  await page.keyboard.press("Enter");
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  const login = await page.evaluate(() => window.fake.calls.find((one) => one.name === "account.login")?.input);
  expect(login).toMatchObject({ homeserver: "https://matrix.example.org", user: "mara" });
  expect(trouble).toEqual([]);
});

test("a full address fills both fields", async () => {
  const { page } = await open({ scenario: signedOut });
  await page.getByLabel("Server").fill("@mara:example.org");
  await page.getByText("Found matrix.example.org").waitFor();
  expect(await page.getByLabel("User name").inputValue()).toBe("mara");
  expect(await page.getByLabel("Server").inputValue()).toBe("example.org");
});

test.each([
  ["nowhere.example", "The server could not be reached. Check your connection and the address."],
  ["website.example", "There is a web server at this address, but no Matrix server. Check the spelling."],
  ["http://plain.example", "That is not possible here. The server or this version of Tessera does not offer it."],
])("%s says what is wrong beside the field", async (server, sentence) => {
  const { page } = await open({ scenario: signedOut });
  await page.getByLabel("Server").fill(server);
  await page.getByText(sentence).waitFor();
  expect(await page.getByLabel("Server").getAttribute("aria-invalid")).toBe("true");
});

test("a wrong password is said in a sentence, and what was typed stays", async () => {
  const { page } = await open({ scenario: signedOut });
  await page.getByLabel("Server").fill("example.org");
  await page.getByLabel("User name").fill("mara");
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("User name and password do not match.").waitFor();
  expect(await page.getByLabel("User name").inputValue()).toBe("mara");
  expect(await page.getByLabel("Password").inputValue()).toBe("wrong");
});

test("a server that signs in through the browser alone says so and asks for no password", async () => {
  const { page } = await open({ scenario: signedOut });
  await page.getByLabel("Server").fill("browser.example");
  await page.getByText("This server signs people in through the browser only.").waitFor();
  expect(await page.getByLabel("Password").count()).toBe(0);
  await expectAccessible(page);
});

test("an account is made where the server allows it, and only there", async () => {
  const { page } = await open({ scenario: signedOut });
  await page.getByLabel("Server").fill("closed.example");
  await page.getByText("Found matrix.closed.example").waitFor();
  expect(await page.getByRole("button", { name: "Create one" }).count()).toBe(0);
  await page.getByLabel("Server").fill("open.example");
  await page.getByRole("button", { name: "Create one" }).click();
  await page.getByLabel("User name").fill("taken");
  await page.getByLabel("Password", { exact: true }).fill("correct");
  await page.getByLabel("Password once more").fill("different");
  await page.getByText("The two passwords differ.").waitFor();
  expect(await page.getByRole("button", { name: "Create account" }).isDisabled()).toBe(true);
  await page.getByLabel("Password once more").fill("correct");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByText("This user name is taken. Choose another.").waitFor();
  await page.getByLabel("User name").fill("mara");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
});

test("a session that the server ended keeps everything and asks for the password again", async () => {
  const { page } = await open({ scenario: { lastOpened: "!anaruiz:example.org", sync: "signed-out-softly" } });
  await page.getByText("Your server ended this session. Everything is still here").waitFor();
  await page.getByText("The slides are in the folder").last().waitFor();
  await page.getByRole("button", { name: "Sign in again" }).click();
  await page.getByLabel("Password", { exact: true }).fill("wrong");
  await page.getByRole("dialog").getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByText("User name and password do not match.").waitFor();
  await page.getByLabel("Password", { exact: true }).fill("correct");
  await page.keyboard.press("Enter");
  await page.getByText("Your server ended this session.").waitFor({ state: "detached" });
  await page.getByText("The slides are in the folder").last().waitFor();
});

test("signing out says what would be lost and deletes nothing before one insists", async () => {
  const { page } = await open({ scenario: { atRisk: true } });
  await page.getByRole("button", { name: /Mara Lindqvist/ }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign out and delete from this computer" }).click();
  await page.getByText("214 of 1,893 message keys exist only on this device.").waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Stay signed in" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign out and delete from this computer" }).click();
  await page.getByRole("button", { name: /^Sign out and lose it/ }).click();
  const lose = page.getByRole("button", { name: "Sign out and lose them" });
  expect(await lose.isDisabled()).toBe(true);
  await page
    .getByLabel("Type “sign out and lose 312 conversations’ keys” to go on")
    .fill("Sign out and lose 312 conversations' keys");
  await lose.click();
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
  const forced = await page.evaluate(() =>
    window.fake.calls.filter((one) => one.name === "account.logout").map((one) => one.input),
  );
  expect(forced).toEqual([{}, {}, { force: true }]);
});
