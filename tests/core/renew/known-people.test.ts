import { expect, test } from "vitest";
import { sessionOf, startCore } from "../core.ts";
import { useHomeserver } from "../people.ts";
import { agree, comparing, directChat, done, identityOf, ready, setUp } from "../verification/verifying.ts";

// The next device's Rust crypto takes whatever identity it sees first; whom the device before knew as whom is told from our own rows.
const { server, person, room } = useHomeserver();

test(
  "whom it knew it knows: a change of identity is told by the new device too, until it is accepted; recovery brings the rest",
  { timeout: 300_000 },
  async () => {
    const [ana, ben, cem] = await Promise.all([person("ana"), person("ben"), person("cem")]);
    const [recoveryKey] = await Promise.all([setUp(ana), setUp(ben), setUp(cem)]);
    await room(ana, [ben, cem], { encrypted: true });
    await directChat(ana, ben);
    const flowId = await ready(ana, ben);
    await comparing(ana, ben, flowId);
    await agree([ana, ben], flowId);
    await done([ana, ben], flowId);
    expect(await identityOf(ana.core, ben.userId)).toBe("verified");
    expect(await identityOf(ana.core, cem.userId)).toBe("pinned");
    await ana.core.ok("account.salvage", {});
    await ana.core.stop();
    await cem.core.ok("trust.reset", { password: cem.account.password, keepHistory: true });

    const { folder } = ana.core;
    const session = sessionOf(await server().login(ana.account), server().url);
    const renewed = await startCore({ session, folder, via: ana.proxy.url });
    await renewed.sync();
    await renewed.until(
      async () => (await renewed.ok("trust.status", {})).identity === "this-device-unverified",
      "the identity of the account",
    );
    expect(await identityOf(renewed, ben.userId)).toBe("pinned");
    expect(await identityOf(renewed, cem.userId)).toBe("changed");

    await renewed.kill();
    const again = await startCore({ session, folder, via: ana.proxy.url, lastStopOrderly: false });
    await again.sync();
    expect(await identityOf(again, cem.userId)).toBe("changed");
    await again.ok("trust.acceptIdentity", { userId: cem.userId });
    expect(await identityOf(again, cem.userId)).toBe("pinned");
    await again.ok("trust.recover", { recoveryKey });
    await again.until(async () => (await identityOf(again, ben.userId)) === "verified", "ben's verification");
    expect((await again.ok("trust.status", {})).identity).toBe("verified");
  },
);
