// The documents keep up with the code: links resolve, dependencies are explained, what the README names exists.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { main } from "../src/cli/main.ts";
import { rewardPresets } from "../src/systems/alphamaze/rewards.ts";
import { publishedSystems, systems } from "../src/systems/registry.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), "utf8");

const markdownFiles = (folder: string, recursive: boolean): string[] =>
  existsSync(join(root, folder))
    ? readdirSync(join(root, folder), { recursive, encoding: "utf8" })
        .filter((name) => name.endsWith(".md"))
        .map((name) => join(folder, name))
        .sort()
    : [];

const documents = [
  ...markdownFiles(".", false),
  ...markdownFiles("bench/peers", false),
  ...["docs", "src", "examples"].flatMap((folder) => markdownFiles(folder, true)),
];

interface Manifest {
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly overrides?: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(read("package.json")) as Manifest;

const code = /^ *```.*?^ *```|`[^`\n]+`/gms;

/** Targets of links to files, without their anchors; code is no link. */
function fileLinks(markdown: string): string[] {
  const text = markdown.replaceAll(code, "");
  const targets = [...text.matchAll(/\]\(([^()\s]+)(?: "[^"]*")?\)/g)].map((match) => match[1]!);
  return targets
    .filter((target) => !/^(?:[a-z]+:|#)/i.test(target))
    .map((target) => decodeURI(target.split("#")[0]!));
}

/** Commands of npm itself that a document may name. */
const npmCommands: ReadonlySet<string> = new Set(["ci", "install", "i", "pack", "exec", "view"]);

/** Names of the package scripts that the code in a document runs. */
function scriptsOf(markdown: string): string[] {
  const commands = (markdown.match(code) ?? []).join("\n");
  return [...commands.matchAll(/\bnpm (run )?(?:-\S+ )*([a-z][\w:-]*)/g)]
    .filter((match) => match[1] !== undefined || !npmCommands.has(match[2]!))
    .map((match) => match[2]!);
}

describe("links", () => {
  it("are found outside of code", () => {
    const text = "[a](b.md#c) ![d](e.svg) [f](https://g.h) [i](#j) `[k](l)`\n```\n[m](n)\n```\n";
    expect(fileLinks(text)).toEqual(["b.md", "e.svg"]);
  });

  it.each(documents)("of %s resolve", (document) => {
    const missing = fileLinks(read(document)).filter(
      (target) => !existsSync(join(root, dirname(document), target)),
    );
    expect(missing).toEqual([]);
  });
});

describe("docs/dependencies.md", () => {
  const { dependencies, devDependencies, overrides = {} } = manifest;
  const explained = [...read("docs/dependencies.md").matchAll(/^\| `([^`]+)` *\|/gm)].map(
    (match) => match[1]!,
  );

  it("has one line for every dependency and override, and for nothing else", () => {
    const known = [dependencies, devDependencies, overrides].flatMap(Object.keys);
    expect(explained.toSorted()).toEqual(known.toSorted());
  });

  it("states the versions of the overrides", () => {
    const lines = read("docs/dependencies.md").split("\n");
    for (const [name, version] of Object.entries(overrides)) {
      const line = lines.find((one) => one.startsWith(`| \`${name}\``));
      expect(line, name).toContain(version);
    }
  });
});

describe("package scripts", () => {
  it("are found in code", () => {
    const text = "npm nowhere\n```\nnpm ci && npm start\n```\n`npm run --silent build`, `npm test`";
    expect(scriptsOf(text)).toEqual(["start", "build", "test"]);
  });

  it.each(documents)("that %s names exist", (document) => {
    const unknown = scriptsOf(read(document)).filter((name) => !(name in manifest.scripts));
    expect(unknown).toEqual([]);
  });
});

describe("commands", () => {
  /** Lines like `npx alidade show alphamaze  comment`, as words without the comment. */
  const alidadeCommands = (markdown: string): string[][] =>
    (markdown.match(code) ?? [])
      .flatMap((part) => [...part.matchAll(/\bnpx alidade ([a-z][^\n`]*)/g)])
      .map((match) =>
        match[1]!
          .split(/ {2,}| #|;/)[0]!
          .trim()
          .split(" "),
      );

  it("are found in code", () => {
    const text = "npx alidade no\n```\nnpx alidade list --json   the systems\n```\n`npx alidade …`";
    expect(alidadeCommands(text)).toEqual([["list", "--json"]]);
  });

  it.each(documents)("of %s are known, with their flags", async (document) => {
    for (const [name = "", ...words] of alidadeCommands(read(document))) {
      let help = "";
      const stdout = { write: (text: string) => (help += text) };
      // What the flags depend on: the task of `data`, the command of a group.
      const inner =
        name === "xiangqi" ? words.slice(0, 1) : words.filter((word) => word === "maze");
      const exit = await main([name, ...inner, "--help"], { stdout });
      expect(exit, `alidade ${name}`).toBe(0);
      for (const flag of words.filter((word) => word.startsWith("--"))) {
        expect(help, `alidade ${name} ${flag}`).toContain(`${flag} `);
      }
    }
  });
});

/** The table of systems that the README shows: rows of cells. */
function systemRows(): string[][] {
  return publishedSystems.map(({ name, title, arxiv, summary }) => {
    const ready = systems.find((system) => system.name === name);
    const state =
      ready === undefined ? "planned" : `scales ${Object.keys(ready.scales).join(", ")}`;
    return [`\`${name}\``, `[${title}](https://arxiv.org/abs/${arxiv}): ${summary}`, state];
  });
}

describe("src/systems/alphamaze/README.md", () => {
  it("has the weights of the reward presets", () => {
    const cells = (line: string) => line.split("|").map((cell) => cell.trim().replaceAll("`", ""));
    const lines = read("src/systems/alphamaze/README.md").split("\n");
    const start = lines.findIndex((line) => line.startsWith("| score "));
    const [, , , ...presets] = cells(lines[start]!).slice(0, -1);
    const shown: Record<string, Record<string, number>> = {};
    for (const preset of presets) shown[preset] = {};
    for (const line of lines.slice(start + 2, lines.indexOf("", start))) {
      const [, score = "", , ...weights] = cells(line);
      presets.forEach((preset, index) => {
        if (weights[index] !== "-") shown[preset]![score] = Number(weights[index]);
      });
    }
    expect(shown).toEqual(rewardPresets);
  });
});

describe("README.md", () => {
  it("has the table of the systems", () => {
    const rows = read("README.md")
      .split("\n")
      .filter((line) => /^\| `[a-z0-9-]+` /.test(line))
      .map((line) =>
        line
          .split("|")
          .slice(1, -1)
          .map((cell) => cell.trim()),
      );
    expect(rows).toEqual(systemRows());
  });
});
