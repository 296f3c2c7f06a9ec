import { describe, expect, it } from "vitest";
import { ConfigError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import {
  colorPairRecord,
  colorRecord,
  countingRecord,
  generateBenchmark,
  generateTraining,
  genevalWorld,
  numberWord,
  pairRecord,
  plural,
  positionRecord,
  singleRecord,
  splitClasses,
  trainingWeights,
  withArticle,
} from "./prompt-generator.ts";
import { orderlessKey, parseRecord } from "./record.ts";
import { colorNames, objectNames, tags, unseenObjectNames } from "./vocabulary.ts";

describe("records by GenEval's rules", () => {
  it("are those of the published files, field by field", () => {
    expect(positionRecord({ class: "kite" }, "above", { class: "sink" })).toEqual({
      tag: "position",
      include: [
        { class: "sink", count: 1 },
        { class: "kite", count: 1, position: ["above", 0] },
      ],
      prompt: "a photo of a kite above a sink",
    });
    expect(countingRecord("spoon", 3)).toEqual({
      tag: "counting",
      include: [{ class: "spoon", count: 3 }],
      exclude: [{ class: "spoon", count: 4 }],
      prompt: "a photo of three spoons",
    });
    const purple = colorPairRecord(
      { class: "apple", color: "orange" },
      { class: "cup", color: "purple" },
    );
    expect(purple.prompt).toBe("a photo of an orange apple and a purple cup");
    expect(colorRecord("umbrella", "red").prompt).toBe("a photo of a red umbrella");
    expect(pairRecord("apple", "bus").prompt).toBe("a photo of an apple and a bus");
    expect(singleRecord("oven").prompt).toBe("a photo of an oven");
  });

  it("have the articles and plurals of the script, right or not", () => {
    expect(["bus", "toothbrush", "knife", "scissors"].map(plural)).toEqual([
      "buses",
      "toothbrushs",
      "knifes",
      "scissorses",
    ]);
    expect(["umbrella", "hot dog"].map(withArticle)).toEqual(["an umbrella", "a hot dog"]);
    expect(() => numberWord(13)).toThrow(ConfigError);
  });

  it("speak of 80 classes, 20 of which can be held out", () => {
    expect([objectNames.length, new Set(objectNames).size]).toEqual([80, 80]);
    expect(unseenObjectNames.length).toBe(20);
    const { seen, unseen } = splitClasses(genevalWorld, unseenObjectNames);
    expect([seen.classes.length, unseen.classes.length]).toEqual([60, 20]);
    const of = (world: typeof seen) =>
      new Set(
        generateBenchmark(randomStream("unseen"), world, 40).flatMap((one) =>
          one.include.map((entry) => entry.class),
        ),
      );
    expect([...of(seen)].filter((name) => of(unseen).has(name))).toEqual([]);
    expect(() => splitClasses(genevalWorld, ["dragon"])).toThrow(ConfigError);
  });
});

describe("a generated benchmark", () => {
  const benchmark = generateBenchmark(randomStream("benchmark"));

  it("has every class once, no repetitions, about 100 of each other tag, and only right records", () => {
    const count = (tag: string) => benchmark.filter((one) => one.tag === tag).length;
    expect(count("single_object")).toBe(80);
    // The published one has 99, 80, 94, 100, 100: repetitions of 240 counting and 790 colour prompts.
    expect(count("two_object")).toBeGreaterThan(90);
    expect(count("counting")).toBeGreaterThan(65);
    expect(count("counting")).toBeLessThan(95);
    expect(count("position")).toBeGreaterThan(95);
    expect(new Set(benchmark.map((one) => JSON.stringify(one))).size).toBe(benchmark.length);
    for (const one of benchmark) {
      expect(parseRecord(one, "x")).toEqual(one);
      const [first, second] = one.include;
      if (one.tag === "color_attr") expect(first!.color).not.toBe(second!.color);
      if (second !== undefined) expect(first!.class).not.toBe(second.class);
      expect(
        one.include.every((entry) => entry.color === undefined || entry.class !== "person"),
      ).toBe(true);
    }
    const colors = new Set(benchmark.flatMap((one) => one.include.map((entry) => entry.color)));
    expect(colors.size).toBe(colorNames.length + 1);
  });

  it("is the same for the same stream", () => {
    expect(generateBenchmark(randomStream("benchmark"))).toEqual(benchmark);
    expect(generateBenchmark(randomStream("other"))).not.toEqual(benchmark);
  });
});

describe("generated training prompts", () => {
  it("come in the shares 7:5:3:1:1:0, and none is held out in either order", () => {
    const world = { ...genevalWorld, classes: genevalWorld.classes.slice(0, 8) };
    const heldOut = generateBenchmark(randomStream("held out"), world, 15);
    const training = generateTraining(randomStream("training"), 8500, { world, heldOut });
    for (const tag of tags) {
      const share = training.filter((one) => one.tag === tag).length / training.length;
      expect(Math.abs(share - trainingWeights[tag] / 17)).toBeLessThan(0.03);
    }
    const keys = new Set(heldOut.map(orderlessKey));
    expect(training.filter((one) => keys.has(orderlessKey(one)))).toEqual([]);
    const swapped = heldOut
      .filter(({ tag }) => tag === "two_object")
      .map(({ include }) => pairRecord(include[1]!.class, include[0]!.class).prompt);
    expect(swapped.length).toBeGreaterThan(5);
    expect(training.filter(({ prompt }) => swapped.includes(prompt))).toEqual([]);
  });

  it("end with an error when everything is held out, or nothing has a weight", () => {
    const world = { ...genevalWorld, classes: ["cup"] };
    const weights = {
      position: 0,
      counting: 0,
      color_attr: 0,
      colors: 0,
      two_object: 0,
      single_object: 1,
    };
    const heldOut = [singleRecord("cup")];
    const draw = (options: Parameters<typeof generateTraining>[2]) =>
      generateTraining(randomStream("none"), 1, options);
    expect(() => draw({ world, weights, heldOut })).toThrow(
      /expected a single_object prompt that is not held out/,
    );
    expect(() => draw({ world, weights: { ...weights, single_object: 0 }, heldOut: [] })).toThrow(
      ConfigError,
    );
  });
});
