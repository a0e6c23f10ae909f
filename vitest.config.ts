import { defineConfig } from "vitest/config";

const project = (name: string, more: Record<string, unknown> = {}) => ({
  test: { name, include: [`tests/${name}/**/*.test.ts`], environment: "node", pool: "forks" as const, ...more },
});

/** Time-outs are there to end a hang, not to judge speed. */
const patient = { testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 60_000 } } };

export default defineConfig({
  test: {
    projects: [
      project("unit", { testTimeout: 60_000 }),
      project("core", { ...patient, globalSetup: ["tests/homeserver/global-setup.ts"] }),
      project("host", patient),
      project("ui", { ...patient }),
      project("e2e", {
        ...patient,
        testTimeout: 240_000,
        globalSetup: ["tests/homeserver/global-setup.ts"],
      }),
    ],
    maxWorkers: 2,
  },
});
