import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const bin = fileURLToPath(new URL("../bin/alidade.js", import.meta.url));
const isBuilt = existsSync(new URL("../dist/cli/main.js", import.meta.url));

const alidade = (...argv: string[]) =>
  spawnSync(process.execPath, [bin, ...argv], { encoding: "utf8", cwd: tmpdir() });

// `npm test` builds first; a lone `vitest run` in a fresh clone has nothing to spawn.
describe.skipIf(!isBuilt)("bin/alidade.js", () => {
  it("runs from any folder and passes on results and exit codes", () => {
    const list = alidade("list", "--json");
    expect(list.status).toBe(0);
    expect(JSON.parse(list.stdout)).toHaveProperty("systems");
    expect(alidade("lst")).toMatchObject({ status: 2, stdout: "" });
  });
});
