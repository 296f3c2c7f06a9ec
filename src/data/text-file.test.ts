import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../core/errors.ts";
import { readJsonList } from "./json-list.ts";
import { readText } from "./text-file.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-text-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}

async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error("no error"),
    (one: unknown) => one,
  );
  expect(error).toBeInstanceOf(DataError);
  return (error as Error).message.replaceAll(root, "");
}

describe("a text file", () => {
  it("comes without its byte order mark, and with everything else", async () => {
    const text = fc.string({ unit: "grapheme" });
    await fc.assert(
      fc.asyncProperty(text, fc.boolean(), async (content, hasMark) => {
        fc.pre(!content.startsWith("\uFEFF"));
        const path = write("any.txt", `${hasMark ? "\uFEFF" : ""}${content}`);
        expect(await readText(path)).toBe(content);
      }),
      { numRuns: 50 },
    );
  });

  it("that is no UTF-8 is named by line", async () => {
    const lines = ["a", "b", "caf\u00e9", "d"].map((line) => Buffer.from(`${line}\n`, "latin1"));
    expect(await failure(readText(write("latin.txt", Buffer.concat(lines))))).toMatch(
      /^\/latin\.txt, line 3: expected UTF-8 text, got .* \(save the file as UTF-8\)$/,
    );
    const last = Buffer.concat([Buffer.from("a\nb"), Buffer.from([0xff])]);
    expect(await failure(readText(write("last.txt", last)))).toMatch(/^\/last\.txt, line 2: /);
  });

  it("that is not there", async () => {
    expect(await failure(readText(join(root, "none.txt")))).toMatch(
      /^\/none\.txt: expected a file that can be read, got ENOENT/,
    );
  });
});

describe("a JSON file that is a list", () => {
  it("gives every value with the line on which it begins, however it is indented", async () => {
    const indents = fc.constantFrom<number | undefined>(undefined, 1, 4);
    const values = fc.array(fc.jsonValue(), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(values, indents, async (list, indent) => {
        const text = JSON.stringify(list, null, indent);
        const read = await readJsonList(write("list.json", text));
        expect(read.map(({ value }) => value)).toEqual(JSON.parse(text));
        // The line of value i is the one after all values before it, each printed alone.
        let line = indent === undefined ? 1 : 2;
        list.forEach((value, index) => {
          expect(read[index]!.where).toMatch(new RegExp(`, line ${line}, record ${index + 1}$`));
          if (indent !== undefined) line += JSON.stringify(value, null, indent).split("\n").length;
        });
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ["", /^\/l\.json: expected JSON, got ""/],
    ["[1,", /^\/l\.json: expected JSON, got "\[1,"/],
    ["[]", /expected a list with at least one record, got \[\]$/],
    ['{"a": 1}', /expected a list with at least one record, got \{"a":1\}$/],
  ])("%j is none", async (text, message) => {
    expect(await failure(readJsonList(write("l.json", text)))).toMatch(message);
  });
});
