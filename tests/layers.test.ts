// Holds the layer table of ARCHITECTURE.md: imports point downward only.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const source = fileURLToPath(new URL("../src", import.meta.url));

interface Layer {
  readonly layer: number;
  /** Folders it may import beside itself. "*" stands for everything of a lower layer. */
  readonly imports: readonly string[] | "*";
}

/** The table of a document: layer, folder, what it holds, what it may import ("-" nothing, "lower" everything below). */
function readLayers(markdown: string): Readonly<Record<string, Layer>> {
  const rows = [...markdown.matchAll(/^\| *(\d+) *\| *`([a-z]+)\/` *\|[^|]*\| *([^|]*?) *\|$/gm)];
  return Object.fromEntries(
    rows.map(([, layer, folder, words]) => {
      const imports = words === "lower" ? "*" : words === "-" ? [] : words!.split(" ");
      return [folder!, { layer: Number(layer), imports }];
    }),
  );
}

const layers = readLayers(readFileSync(new URL("../ARCHITECTURE.md", import.meta.url), "utf8"));

/** Packages that only one folder knows. */
const owners: Readonly<Record<string, string | readonly string[]>> = {
  koffi: "tensor",
  "onnxruntime-node": "tensor",
  protobufjs: ["tensor", "trackers"],
  "@huggingface/tokenizers": "text",
  "@huggingface/jinja": "text",
  hyparquet: "data",
  "hyparquet-writer": "data",
  "fast-png": "image",
  commander: "cli",
};

const importStatement =
  /^\s*import\s+"([^"]+)"|^\s*(?:import|export)\b[^"'();=]*?\bfrom\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;

const isFile = (name: string): boolean => name.startsWith(".");
const packageName = (name: string): string =>
  name.split("/", name.startsWith("@") ? 2 : 1).join("/");

/** What a file imports: paths inside src, and package names. */
function importsOf(text: string, file: string): { files: string[]; packages: string[] } {
  const matches = [...text.matchAll(importStatement)];
  const names = matches.map((match) => (match[1] ?? match[2] ?? match[3])!);
  return {
    files: names.filter(isFile).map((name) => join(dirname(file), name)),
    packages: names.filter((name) => !isFile(name)).map(packageName),
  };
}

const folderOf = (file: string): string => file.split(sep)[0] ?? "";

/** The unit that may not reach sideways: a domain of tasks/, a paper of systems/, else the layer's folder. */
function unitOf(file: string): string {
  const [folder = "", inner = "", ...rest] = file.split(sep);
  const isNested = (folder === "tasks" || folder === "systems") && rest.length > 0;
  return isNested ? join(folder, inner) : folder;
}

/** Why `from` may not import `to`, or null when it may. A test may use all of the lower layers, and what lies in tests/. */
function violation(from: string, to: string): string | null {
  const [folder, target] = [folderOf(from), folderOf(to)];
  const isTest = from.endsWith(".test.ts");
  if (isTest && to.startsWith(join("..", "tests"))) return null;
  // src/index.ts is the public surface; it may name everything.
  if (!from.includes(sep)) return null;
  const rule = layers[folder];
  if (rule === undefined) return `${folder}/ is not in the layer table`;
  if (folder === target) {
    const [own, other] = [unitOf(from), unitOf(to)];
    const isFine = own === other || own === folder || other === folder;
    return isFine ? null : `${own} reaches sideways`;
  }
  const isAllowed =
    rule.imports === "*" || isTest
      ? (layers[target]?.layer ?? Infinity) < rule.layer
      : rule.imports.includes(target);
  return isAllowed ? null : `${folder}/ may not import ${target}/`;
}

const files = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
  .map((entry) => relative(source, join(entry.parentPath, entry.name)))
  .sort();

describe("the layer table", () => {
  it("names every folder of src, and only folders of lower layers as imports", () => {
    const folders = new Set(files.filter((file) => file.includes(sep)).map(folderOf));
    expect([...folders].filter((folder) => !(folder in layers))).toEqual([]);
    for (const [folder, { layer, imports }] of Object.entries(layers)) {
      for (const target of imports === "*" ? [] : imports) {
        expect(layers[target]?.layer, `${folder} imports ${target}`).toBeLessThan(layer);
      }
    }
  });

  it("is read as it is written", () => {
    const text = "| 0 | `a/` | x | - |\n| 1 | `b/` | `a/` too | a |\n| 2 | `c/` | y | lower |\n";
    expect(readLayers(text)).toEqual({
      a: { layer: 0, imports: [] },
      b: { layer: 1, imports: ["a"] },
      c: { layer: 2, imports: "*" },
    });
  });
});

describe("layers", () => {
  it("are kept by every import in src", () => {
    const problems = files.flatMap((file) => {
      const { files: targets, packages } = importsOf(
        readFileSync(join(source, file), "utf8"),
        file,
      );
      const foreign = packages
        .filter((name) => ![owners[name] ?? folderOf(file)].flat().includes(folderOf(file)))
        .map((name) => `${file}: only ${[owners[name]].flat().join("/, ")}/ may import ${name}`);
      const upward = targets
        .map((target) => ({ target, reason: violation(file, target) }))
        .filter(({ reason }) => reason !== null)
        .map(({ target, reason }) => `${file} imports ${target}: ${reason}`);
      return [...foreign, ...upward];
    });
    expect(problems).toEqual([]);
  });

  it("are told apart by this test", () => {
    expect(importsOf('import { a } from "../b.ts";\nexport * from "zod";', "x/y.ts")).toEqual({
      files: ["b.ts"],
      packages: ["zod"],
    });
    expect(
      importsOf('import {\n  a,\n  type B,\n} from "@x/y/z";\nawait import("./q.ts");', "x/y.ts"),
    ).toEqual({ files: [join("x", "q.ts")], packages: ["@x/y"] });
  });

  it.each([
    ["core/a.ts", "run/b.ts", /core\/ may not import run\//],
    ["engine/a.ts", "tasks/maze/task.ts", /may not import/],
    ["tasks/maze/a.ts", "tasks/chess/b.ts", /sideways/],
    ["systems/a/a.ts", "cli/main.ts", /may not import/],
    ["magic/a.ts", "core/b.ts", /not in the layer table/],
    ["systems/a/a.ts", "systems/system.ts", null],
    ["tasks/registry.ts", "tasks/maze/task.ts", null],
    ["index.ts", "cli/main.ts", null],
    ["algorithms/a.test.ts", "engine/b.ts", null],
    ["algorithms/a.ts", "engine/b.ts", /may not import/],
    ["engine/a.test.ts", "algorithms/b.ts", /may not import/],
    ["models/a.test.ts", "../tests/b.ts", null],
    ["models/a.ts", "../tests/b.ts", /may not import/],
  ])("%s importing %s", (from, to, reason) => {
    const problem = violation(join(from), join(to));
    if (reason === null) expect(problem).toBeNull();
    else expect(problem).toMatch(reason);
  });
});
