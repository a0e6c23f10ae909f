import { createCipheriv, createDiffieHellmanGroup, hkdfSync, randomBytes } from "node:crypto";
import { connectBus, marshal, unmarshal, type DbusMessage } from "./dbus-connection.ts";

/** The person in front of the keyring's password prompt. */
export type Prompter = {
  /** How many prompts have asked for a password. */
  asked: () => number;
  /** Types the password into the prompts that are open and that come. */
  answer: (password: string) => void;
  dismiss: () => void;
  end: () => void;
};

/**
 * Answers gnome-keyring's prompts over its own protocol (`org.gnome.keyring.internal.Prompter`, exchange "sx-aes-1":
 * Diffie-Hellman over MODP 1536, HKDF-SHA-256, AES-128-CBC), where the desktop's dialog would stand. Until it is told
 * what to do it leaves the prompt open, as a person does who is away.
 */
export async function startPrompter(socketPath: string): Promise<Prompter> {
  const open = new Map<
    string,
    { exchange: ReturnType<typeof createDiffieHellmanGroup>; sender: string; peer?: Buffer }
  >();
  let asked = 0;
  let decision: { password: string } | "dismiss" | undefined;

  const publicLine = (exchange: ReturnType<typeof createDiffieHellmanGroup>) =>
    `[sx-aes-1]\npublic=${exchange.getPublicKey("base64")}\n`;

  function ready(path: string, reply: string, exchange: string): void {
    const prompt = open.get(path);
    if (prompt !== undefined) bus.call(prompt.sender, path, "PromptReady", "sa{sv}s", marshal([reply, null, exchange]));
  }

  function decide(path: string): void {
    const prompt = open.get(path);
    if (prompt?.peer === undefined || decision === undefined) return;
    const own = publicLine(prompt.exchange);
    if (decision === "dismiss") {
      ready(path, "no", own);
      return;
    }
    const shared = prompt.exchange.computeSecret(prompt.peer);
    delete prompt.peer;
    const key = Buffer.from(hkdfSync("sha256", shared, Buffer.alloc(0), Buffer.alloc(0), 16));
    const iv = randomBytes(16);
    const cipher = createCipheriv("aes-128-cbc", key, iv);
    const secret = Buffer.concat([cipher.update(decision.password, "utf8"), cipher.final()]);
    ready(path, "yes", `${own}secret=${secret.toString("base64")}\niv=${iv.toString("base64")}\n`);
  }

  function onCall(message: DbusMessage): void {
    bus.reply(message);
    const [path = "", type, exchanged = ""] =
      message.member === "PerformPrompt"
        ? unmarshal(message.body, ["string", "string", "dictionary", "string"])
        : unmarshal(message.body, ["string"]);
    switch (message.member) {
      case "BeginPrompting": {
        const exchange = createDiffieHellmanGroup("modp5");
        exchange.generateKeys();
        open.set(path, { exchange, sender: message.sender });
        ready(path, "", publicLine(exchange));
        break;
      }
      case "PerformPrompt": {
        const prompt = open.get(path);
        const peer = /public=(\S+)/.exec(exchanged)?.[1];
        if (prompt === undefined || peer === undefined) throw new Error(`a ${type ?? ""} prompt without its exchange`);
        prompt.peer = Buffer.from(peer, "base64");
        asked += 1;
        decide(path);
        break;
      }
      case "StopPrompting": {
        const prompt = open.get(path);
        if (prompt !== undefined) bus.call(prompt.sender, path, "PromptDone", "", Buffer.alloc(0));
        open.delete(path);
        break;
      }
    }
  }

  const bus = await connectBus(
    socketPath,
    "org.gnome.keyring.SystemPrompter",
    "org.gnome.keyring.internal.Prompter.Callback",
    onCall,
  );
  const decideAll = () => {
    for (const path of open.keys()) decide(path);
  };
  return {
    asked: () => asked,
    answer(password) {
      decision = { password };
      decideAll();
    },
    dismiss() {
      decision = "dismiss";
      decideAll();
    },
    end: bus.end,
  };
}
