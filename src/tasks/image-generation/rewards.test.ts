import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError } from "../../core/errors.ts";
import { type Detection, type Detections, keepDetections } from "./detections.ts";
import { officialVerdict } from "./official-metric.ts";
import { type GenevalRecord, parseRecord } from "./record.ts";
import { type Box, relationsOf } from "./relative-position.ts";
import {
  clipScoreReward,
  compressibilityReward,
  pickScoreReward,
  unifiedReward,
} from "./supplied-rewards.ts";
import { quotedText, textReward, videoTextReward } from "./text-reward.ts";
import { trainingReward } from "./training-reward.ts";
import { opposite, type Relation, relations, tags } from "./vocabulary.ts";

const boxAt = (x: number, y: number): Box => [x, y, x + 8, y + 8];
const seen = (color: string, box: Box = boxAt(0, 0), confidence = 0.95): Detection => ({
  box,
  confidence,
  color,
});
const saw = (found: Readonly<Record<string, readonly Detection[]>>): Detections =>
  new Map(Object.entries(found));
const record = (tag: string, ...include: object[]): GenevalRecord =>
  parseRecord({ tag, include, prompt: "p" }, "test");

const repo = { compat: "repo", floor: null } as const;
const paper = { compat: "paper", floor: null } as const;

describe("relative position", () => {
  it("has the two worked examples", () => {
    expect(relationsOf([2, 8, 10, 16], [14, 10, 22, 18])).toEqual(["left of"]);
    expect(relationsOf([2, 8, 10, 16], [4, 10, 12, 18])).toEqual([]);
  });

  it("takes a tenth of both sizes off, and asks for more than half of the whole distance", () => {
    // 7 - 1.6 = 5.4 of 10.63 are .508, of 11.40 .474.
    expect(relationsOf(boxAt(7, 8), boxAt(0, 0))).toEqual(["right of", "below"]);
    expect(relationsOf(boxAt(7, 9), boxAt(0, 0))).toEqual(["below"]);
  });

  it("holds several relations on a diagonal, none for one place", () => {
    expect(relationsOf(boxAt(20, 20), boxAt(0, 0))).toEqual(["right of", "below"]);
    expect(relationsOf(boxAt(3, 3), boxAt(3, 3))).toEqual([]);
  });

  it("is the opposite for the other box, and turns with the picture", () => {
    const coordinate = fc.integer({ min: 0, max: 40 });
    const boxes = fc
      .tuple(
        coordinate,
        coordinate,
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
      )
      .map(([x, y, width, height]): Box => [x, y, x + width, y + height]);
    const turned = ([x0, y0, x1, y1]: Box): Box => [y0, x0, y1, x1];
    const turn: Readonly<Record<Relation, Relation>> = {
      "left of": "above",
      "right of": "below",
      above: "left of",
      below: "right of",
    };
    fc.assert(
      fc.property(boxes, boxes, (a, b) => {
        const found = relationsOf(a, b);
        expect([...relationsOf(b, a)].sort()).toEqual(found.map((one) => opposite[one]).sort());
        expect([...relationsOf(turned(a), turned(b))].sort()).toEqual(
          found.map((one) => turn[one]).sort(),
        );
        expect(found.length).toBeLessThanOrEqual(2);
      }),
    );
  });
});

describe("what counts of the detections", () => {
  it("lies above the threshold of the tag, surest first, at most 16", () => {
    const list = [0.3, 0.31, 0.9, 0.95].map((confidence) => seen("red", boxAt(0, 0), confidence));
    const counts = (tag: (typeof tags)[number]) =>
      keepDetections(saw({ cup: list, fork: [] }), tag)
        .get("cup")!
        .map(({ confidence }) => confidence);
    expect(counts("colors")).toEqual([0.95, 0.9, 0.31]);
    expect(counts("counting")).toEqual([0.95]);
    expect(keepDetections(saw({ cup: list.slice(0, 2) }), "counting").size).toBe(0);
    const many = Array.from({ length: 20 }, (_, index) =>
      seen("red", boxAt(0, 0), 0.4 + index / 100),
    );
    const kept = keepDetections(saw({ cup: many }), "colors").get("cup")!;
    expect(kept).toEqual(many.toReversed().slice(0, 16));
  });
});

describe("the training reward", () => {
  const cups = record("counting", { class: "cup", count: 2 });
  const redCup = record("colors", { class: "cup", count: 1, color: "red" });
  const pair = record(
    "color_attr",
    { class: "cup", count: 1, color: "red" },
    { class: "spoon", count: 1, color: "blue" },
  );
  const kite = record(
    "position",
    { class: "sink", count: 1 },
    { class: "kite", count: 1, position: ["above", 0] },
  );
  const sink = [seen("white", boxAt(10, 20))];
  const times = (count: number) => Array.from({ length: count }, () => seen("red"));

  it.each([
    ["two cups, 3 found", cups, { cup: times(3) }, 0.5, 0.5],
    ["two cups, none found", cups, {}, 0, 0],
    ["one red cup, 5 found: below 0", redCup, { cup: times(5) }, -1.5, -1.5],
    [
      "one cup, 5 found",
      record("single_object", { class: "cup", count: 1 }),
      { cup: times(5) },
      -3,
      -3,
    ],
    ["a red cup, one blue found", redCup, { cup: [seen("blue")] }, 0.5, 0.5],
    ["both found, colours swapped", pair, { cup: [seen("blue")], spoon: [seen("red")] }, 0.5, 0.5],
    ["all right", pair, { cup: [seen("red")], spoon: [seen("blue")] }, 1, 1],
    ["the reference is missing", kite, { kite: [seen("red")] }, 1 / 3, 1 / 3],
    ["the relation is wrong", kite, { sink, kite: [seen("red", boxAt(10, 40))] }, 0.75, 2 / 3],
    ["the relation is right", kite, { sink, kite: [seen("red", boxAt(10, 0))] }, 1, 1],
    ["the placed object is missing", kite, { sink }, 1 / 3, 1 / 3],
  ])("%s", (_name, asked, found, inRepo, inPaper) => {
    const detections = saw(found);
    expect(trainingReward(asked, detections, repo).reward).toBeCloseTo(inRepo, 12);
    expect(trainingReward(asked, detections, paper).reward).toBeCloseTo(inPaper, 12);
    const { isStrictlyCorrect } = trainingReward(asked, detections, repo);
    expect(isStrictlyCorrect).toBe(inPaper === 1);
  });

  it("has a floor only when one is asked for", () => {
    const options = { compat: "repo", floor: -1 } as const;
    expect(trainingReward(redCup, saw({ cup: times(5) }), options).reward).toBe(-1);
    expect(trainingReward(redCup, saw({ cup: times(1) }), options).reward).toBe(1);
  });

  it("fails, and is not 0, when a colour is asked for and none is known", () => {
    const { color: _, ...colorless } = seen("red");
    expect(() => trainingReward(redCup, saw({ cup: [colorless] }), repo)).toThrow(
      "detected cup: expected its colour, to compare with red, got none",
    );
    expect(() => officialVerdict(redCup, saw({ cup: [colorless] }))).toThrow(DataError);
  });
});

// The same rules once more, written from the description: a second opinion for random records and detections.

function expectedReward(
  { include }: GenevalRecord,
  found: Detections,
  quirk: boolean,
): [number, boolean] {
  const list: number[] = [];
  const matched: boolean[] = [];
  for (const { class: name, count: n, color, position } of include) {
    const all = found.get(name) ?? [];
    list.push(1 - Math.abs(n - all.length) / n);
    let isMatched = all.length === n;
    if (!isMatched && (color !== undefined || position !== undefined)) list.push(0);
    if (isMatched && color !== undefined) {
      const right = all.filter((one) => one.color === color).length;
      list.push(1 - Math.abs(n - right) / n);
      isMatched = right === n;
    }
    if (isMatched && position !== undefined) {
      const [relation, index] = position;
      const targets = found.get(include[index]!.class) ?? [];
      if (!matched[index]) {
        list.push(0);
        isMatched = false;
      } else {
        isMatched = all.every((a) =>
          targets.every((b) => relationsOf(a.box, b.box).includes(relation)),
        );
        if (!isMatched) list.push(0);
        if (isMatched || quirk) list.push(1);
      }
    }
    matched.push(isMatched);
  }
  return [list.reduce((a, b) => a + b, 0) / list.length, matched.every(Boolean)];
}

function expectedVerdict({ include, exclude = [] }: GenevalRecord, found: Detections): boolean {
  const top = (name: string, count: number) => (found.get(name) ?? []).slice(0, count);
  const fine: boolean[] = [];
  for (const { class: name, count, color, position } of include) {
    const objects = top(name, count);
    let isFine = objects.length === count;
    if (color !== undefined) isFine &&= objects.every((one) => one.color === color);
    if (isFine && position !== undefined) {
      const [relation, index] = position;
      const target = include[index]!;
      isFine =
        fine[index]! &&
        objects.every((a) =>
          top(target.class, target.count).every((b) =>
            relationsOf(a.box, b.box).includes(relation),
          ),
        );
    }
    fine.push(isFine);
  }
  const isTooMuch = exclude.some(
    ({ class: name, count }) => (found.get(name)?.length ?? 0) >= count,
  );
  return fine.every(Boolean) && !isTooMuch;
}

describe("reward and verdict on random records and detections", () => {
  const names = ["a", "b", "c"];
  const colors = ["red", "blue"];
  const coordinate = fc.integer({ min: 0, max: 20 });
  const scenes = fc.record({
    include: fc.uniqueArray(
      fc.record({
        name: fc.constantFrom(...names),
        count: fc.integer({ min: 1, max: 2 }),
        color: fc.option(fc.constantFrom(...colors), { nil: undefined }),
        relation: fc.option(fc.constantFrom(...relations), { nil: undefined }),
      }),
      { selector: ({ name }) => name, minLength: 1, maxLength: 3 },
    ),
    excluded: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    found: fc.array(
      fc.record({
        name: fc.constantFrom(...names),
        color: fc.constantFrom(...colors),
        x: coordinate,
        y: coordinate,
      }),
      { maxLength: 5 },
    ),
  });

  it("are those of a second implementation", () => {
    let right = 0;
    fc.assert(
      fc.property(scenes, ({ include, excluded, found }) => {
        const asked = parseRecord(
          {
            tag: "position",
            include: include.map(({ name, count, color, relation }, index) => ({
              class: name,
              count,
              ...(color !== undefined && { color }),
              ...(relation !== undefined && index > 0 && { position: [relation, index - 1] }),
            })),
            ...(excluded !== undefined && { exclude: [{ class: "a", count: excluded }] }),
            prompt: "p",
          },
          "x",
        );
        const detections = new Map<string, Detection[]>();
        for (const { name, color, x, y } of found) {
          detections.set(name, [...(detections.get(name) ?? []), seen(color, boxAt(x, y))]);
        }
        for (const options of [repo, paper]) {
          const [reward, isRight] = expectedReward(asked, detections, options.compat === "repo");
          const ours = trainingReward(asked, detections, options);
          expect(ours.reward).toBeCloseTo(reward, 12);
          expect(ours.isStrictlyCorrect).toBe(isRight);
          expect(ours.reasons.length === 0).toBe(isRight);
          right += Number(isRight);
        }
        const verdict = officialVerdict(asked, detections);
        expect(verdict.isCorrect).toBe(expectedVerdict(asked, detections));
      }),
      { numRuns: 1500, seed: 5 },
    );
    expect(right).toBeGreaterThan(50);
  });
});

describe("the official verdict", () => {
  it("minds too many only where exclude says so, and looks at the surest ones", () => {
    const cup = record("colors", { class: "cup", count: 1, color: "red" });
    const many = saw({ cup: [seen("red"), seen("blue"), seen("blue")] });
    expect(officialVerdict(cup, many).isCorrect).toBe(true);
    expect(officialVerdict(cup, saw({ cup: [seen("blue"), seen("red")] })).isCorrect).toBe(false);
    const two = {
      ...record("counting", { class: "cup", count: 2 }),
      exclude: [{ class: "cup", count: 3 }],
    };
    expect(officialVerdict(two, saw({ cup: [seen("red"), seen("red")] })).isCorrect).toBe(true);
    expect(officialVerdict(two, many)).toEqual({
      isCorrect: false,
      reasons: ["expected cup<3, found 3"],
    });
  });
});

describe("text rewards", () => {
  const prompt = 'a sign that says "Go Home" on a "wall"';

  it.each([
    [["GO", " home"], 1],
    [["xx go ho", "me yy"], 1], // more text around it
    [["gohom"], 5 / 6],
    [["go"], 1 / 3],
    [[], 0],
    [["zzzzzzzzzzzzzzzz"], 0],
  ])("%j", (recognised, reward) => {
    expect(textReward(prompt, recognised)).toBeCloseTo(reward, 12);
  });

  it("lie in [0, 1], and letters outside the basic plane count once", () => {
    expect(textReward('"😀ab"', ["😀a"])).toBeCloseTo(2 / 3, 12);
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        fc.array(fc.string({ unit: "binary" })),
        (text, found) => {
          fc.pre(!text.includes('"') && text.replaceAll(" ", "") !== "");
          const reward = textReward(`x "${text}"`, found);
          expect(reward >= 0 && reward <= 1).toBe(true);
          expect(textReward(`x "${text}"`, [text])).toBe(1);
        },
      ),
    );
  });

  it("of a video are the mean over every 4th frame that shows some of it, without the rule for more text", () => {
    const frames = [["gohome"], ["gohome"], ["zz"], ["zz"], ["xxgohome"], [], [], [], ["qqqqqq"]];
    expect(videoTextReward(prompt, frames)).toBeCloseTo((1 + 4 / 6) / 2, 12);
    expect(videoTextReward(prompt, [["qqqqqq"]])).toBe(0);
  });

  it("need quoted text in the prompt", () => {
    expect(quotedText(prompt)).toBe("Go Home");
    for (const bad of ["no text", 'one "quote', '""', '" "']) {
      expect(() => quotedText(bad)).toThrow(DataError);
    }
  });
});

describe("scales of other rewards", () => {
  it("are those of flow_grpo", () => {
    expect(pickScoreReward(22.1)).toBeCloseTo(0.85, 12);
    expect(clipScoreReward(33)).toBeCloseTo(1.1, 12);
    expect(compressibilityReward(25_000)).toBeCloseTo(-0.05, 12);
    expect(unifiedReward("Good.\nFinal Score: 4.5")).toBeCloseTo(0.9, 12);
  });

  it.each(["", "Final Score: none", "Final Score: 0", "Final Score: 6", "Score 3"])(
    "an answer without a score is an error: %j",
    (answer) => {
      expect(() => unifiedReward(answer)).toThrow(DataError);
    },
  );
});
