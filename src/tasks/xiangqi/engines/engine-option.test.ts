import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../../core/errors.ts";
import { checkOption, parseOption } from "./engine-option.ts";

describe("an option line", () => {
  it.each([
    [
      "Skill Level type spin default 20 min -20 max 20",
      { name: "Skill Level", type: "spin", default: "20", min: -20, max: 20, values: [] },
    ],
    [
      "idle type combo var none var small default none",
      { name: "idle", type: "combo", default: "none", values: ["none", "small"] },
    ],
    ["Debug Log File type string default ", { name: "Debug Log File", default: "" }],
    ["Book type string default min max var a", { default: "min max var a", values: [] }],
    ["Clear Hash type button", { name: "Clear Hash", type: "button" }],
    ["hashsize type spin min 16 max 1024", { min: 16, max: 1024 }],
  ])("is read: %s", (text, option) => {
    expect(parseOption(text)).toMatchObject(option);
  });

  it.each(["", "type spin", "Hash type", "Hash type slider", "Hash"])("is none: %j", (text) => {
    expect(parseOption(text)).toBeNull();
  });

  it("of any words is read or none", () => {
    const word = fc.oneof(
      fc.constantFrom(..."type spin combo string check default min max var".split(" ")),
      fc.string({ unit: "binary", maxLength: 5 }),
    );
    const words = fc.array(word, { maxLength: 12 });
    fc.assert(
      fc.property(words, (list) => {
        const option = parseOption(list.join(" "));
        if (option === null) return;
        expect(option.name).not.toBe("");
        const numbers = [option.min, option.max].filter((number) => number !== undefined);
        expect(numbers.every(Number.isSafeInteger)).toBe(true);
      }),
    );
  });
});

describe("a value", () => {
  const options = [
    "Hash type spin default 16 min 1 max 1024",
    "Offset type spin",
    "Ponder type check default false",
    "Style type combo default Solid var Solid var Risky One",
    "Clear Hash type button",
    "EvalFile type string default a.nnue",
  ].map((text) => parseOption(text)!);

  it.each([
    ["Hash", "1024"],
    ["hash", "1"],
    ["Offset", "-7"],
    ["Ponder", "true"],
    ["Style", "Risky One"],
    ["Clear Hash", ""],
    ["EvalFile", "my net.nnue"],
    ["EvalFile", ""],
  ])("that the engine takes: %s %s", (name, value) => {
    const option = checkOption("test", options, name, value);
    expect(option.name.toLowerCase()).toBe(name.toLowerCase());
  });

  it.each([
    ["Hash", "0", /^test: expected Hash to be a whole number from 1 to 1024, got "0"$/],
    ["Hash", "1025", /from 1 to 1024/],
    ["Hash", "64\nquit", /from 1 to 1024/],
    ["Hash", "1e2", /from 1 to 1024/],
    ["Hash", "", /from 1 to 1024/],
    ["Ponder", "yes", /expected Ponder to be true or false/],
    ["Style", "Mad", /expected Style to be one of Solid, Risky One, got "Mad"/],
    ["Clear Hash", "now", /expected Clear Hash to be a button/],
    ["EvalFile", "a\nquit", /expected EvalFile to be one line/],
    ["Hsah", "64", /got "Hsah" \(did you mean "Hash"\?\)/],
    ["Processors", "2", /known: Hash, Offset, Ponder/],
  ])("that it does not: %s %j", (name, value, message) => {
    const check = (): unknown => checkOption("test", options, name, value);
    expect(check).toThrow(ConfigError);
    expect(check).toThrow(message);
  });
});
