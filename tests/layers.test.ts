// Holds the layer table of ARCHITECTURE.md: imports point downward only.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const source = fileURLToPath(new URL("../src", import.meta.url));

/** Folder → folders it may import beside itself. "*" stands for everything of a lower layer. */
const layers: Readonly<Record<string, { layer: number; imports: readonly string[] | "*" }>> = {
  core: { layer: 0, imports: [] },
  run: { layer: 1, imports: ["core"] },
  text: { layer: 1, imports: ["core"] },
  image: { layer: 1, imports: ["core"] },
  tensor: { layer: 1, imports: ["core"] },
  nn: { layer: 2, imports: ["core", "tensor"] },
  rewards: { layer: 2, imports: ["core", "text", "image"] },
  models: { layer: 3, imports: ["core", "nn", "tensor"] },
  tasks: { layer: 3, imports: ["core", "text", "image", "rewards"] },
  losses: { layer: 4, imports: ["core", "tensor", "nn"] },
  engine: { layer: 5, imports: ["core", "losses", "models", "nn", "tensor", "text", "image"] },
  rollout: { layer: 6, imports: ["core", "text", "tasks"] },
  evaluate: { layer: 7, imports: ["core", "text", "rollout", "tasks", "run"] },
  algorithms: { layer: 8, imports: ["core", "evaluate", "rollout", "tasks", "run"] },
  systems: { layer: 9, imports: "*" },
  cli: { layer: 10, imports: "*" },
  serve: { layer: 10, imports: "*" },
  viewer: { layer: 10, imports: ["core", "run"] },
};

/** Packages that only one folder knows. */
const owners: Readonly<Record<string, string>> = {
  koffi: "tensor",
  "onnxruntime-node": "tensor",
  protobufjs: "tensor",
  "@huggingface/tokenizers": "text",
  "@huggingface/jinja": "text",
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

describe("layers", () => {
  it("are kept by every import in src", () => {
    const problems = files.flatMap((file) => {
      const { files: targets, packages } = importsOf(
        readFileSync(join(source, file), "utf8"),
        file,
      );
      const foreign = packages
        .filter((name) => (owners[name] ?? folderOf(file)) !== folderOf(file))
        .map((name) => `${file}: only ${owners[name]}/ may import ${name}`);
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
