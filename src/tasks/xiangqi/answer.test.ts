import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readAnswer, writeAnswer } from "./answer.ts";
import { formatCoordinates } from "./notation/coordinates.ts";
import { minixiangqi, xiangqi } from "./rules/variant.ts";
import { coarse, situations3, situations5 } from "./situation.ts";

const moveIn = (text: string, variant = xiangqi): string | null => {
  const { move } = readAnswer(text, variant);
  return move === null ? null : formatCoordinates(move, variant);
};
const answered = (answer: string): string => `<think>x</think><answer>${answer}</answer>`;

describe("the form", () => {
  it.each([
    ["<think>x</think><answer>Move: h2e2</answer>", true],
    ["\n <think></think>\n\t<answer></answer> \n", true],
    ["<think>a\nb < c > d</think><answer>\nMove: h2e2\n</answer>", true],
    ["", false],
    ["Move: h2e2", false],
    ["<answer>Move: h2e2</answer>", false],
    ["<think>x</think>", false],
    ["<think>x</think>Move: h2e2", false],
    ["<think>x<answer>Move: h2e2</answer>", false],
    ["<think>x</think><answer>Move: h2e2", false],
    ["x</think><answer>Move: h2e2</answer>", false],
    // In the other order, or with words around.
    ["<answer>Move: h2e2</answer><think>x</think>", false],
    ["So: <think>x</think><answer>Move: h2e2</answer>", false],
    ["<think>x</think> so <answer>Move: h2e2</answer>", false],
    ["<think>x</think><answer>Move: h2e2</answer>.", false],
    // Twice, or one in the other.
    ["<think>x</think><think>y</think><answer>Move: h2e2</answer>", false],
    ["<think>x</think><answer>Move: h2e2</answer><answer>Move: h2e2</answer>", false],
    ["<think><think>x</think></think><answer>Move: h2e2</answer>", false],
    ["<think>x<answer>y</answer></think><answer>Move: h2e2</answer>", false],
    ["<think><answer>x</think>Move: h2e2</answer>", false],
    ["<think>x</think><answer><answer>Move: h2e2</answer></answer>", false],
    ["<think>x</think></think><answer>Move: h2e2</answer>", false],
    ["<think></think></think></answer>", false],
    ["<THINK>x</THINK><ANSWER>Move: h2e2</ANSWER>", false],
  ])("of %j: %s", (text, isWellFormed) => {
    expect(readAnswer(text, xiangqi).isWellFormed).toBe(isWellFormed);
  });

  const piece = fc.oneof(
    fc.constantFrom("<think>", "</think>", "<answer>", "</answer>", "Move: ", "\n", " ", "h2e2"),
    fc.constantFrom("Situation: ", "Balanced", "Slight_Adv_Red", "<", ">", "炮二平五", "C2=5"),
    fc.string({ unit: "binary", maxLength: 4 }),
  );
  const gap = fc.constantFrom("", "\n", " ", ".");
  const texts = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
    // The tags in their order with little between: an eighth of these are well-formed, at least.
    fc
      .tuple(gap, piece, gap, piece, gap)
      .map(([a, b, c, d, e]) => `${a}<think>${b}</think>${c}<answer>${d}</answer>${e}`),
  );

  it("is that of the tags, one after the other, of any text", () => {
    let formed = 0;
    fc.assert(
      fc.property(texts, (text) => {
        const parts = text.split(/(<\/?(?:think|answer)>)/);
        const [before, , , , between, , , , behind] = parts;
        const expected =
          parts.length === 9 &&
          [1, 3, 5, 7].map((index) => parts[index]).join("") ===
            "<think></think><answer></answer>" &&
          `${before}${between}${behind}`.trim() === "";
        const answer = readAnswer(text, xiangqi);
        expect(answer.isWellFormed).toBe(expected);
        if (expected) expect(answer.thinking).toBe(parts[2]!.trim());
        formed += Number(expected);
      }),
      { numRuns: 3_000 },
    );
    expect(formed).toBeGreaterThan(50);
  });

  it("takes one pass of a text: with a pattern that begins anew at every tag, these would take minutes", () => {
    const times = 150_000;
    for (const text of [
      `<think>${"</think><answer>".repeat(times)}`,
      `<think>${"</think><answer>".repeat(times)}${"</answer>".repeat(times)}.`,
      "<think>".repeat(times),
      "<answer>".repeat(times),
      "</think>".repeat(times),
      `<think></think>${" ".repeat(times)}.`,
      `<think></think><answer></answer>${" ".repeat(times)}.`,
      " ".repeat(times),
      `Move:${"\n".repeat(times)}`,
      `Situation:${" \t".repeat(times)}`,
      "Move:".repeat(times),
      `Move: ${"a1-".repeat(times)}`,
      `Situation: ${"red adv ".repeat(times)}`,
    ]) {
      expect(readAnswer(text, xiangqi)).toMatchObject({ isWellFormed: false, move: null });
    }
  });
});

describe("the move", () => {
  it.each([
    ["Move: h2e2", "h2e2"],
    ["move:h2e2", "h2e2"],
    ["MOVE:   H2E2", "h2e2"],
    ["Move: H2-E2", "h2e2"],
    ["Move: h2-e2.", "h2e2"],
    ["Move:\nh2e2", "h2e2"],
    ["**Move:** `b0c2`", "b0c2"],
    ["Move: the horse, b0c2", "b0c2"],
    ["Move: b0c2 or h0g2", "b0c2"],
    ["Situation: Balanced\nMove: a0a9\nThat is all: i0i1.", "a0a9"],
    ["Move: a0a1\nMove: b0c2", "a0a1"],
    // No move of a board: off it, from a square to itself, or ranks counted from 1 up to 10.
    ["Move: h2j2", null],
    ["Move: h2h2", null],
    ["Move: h3h10", null],
    ["Move: e2", null],
    ["Move:", null],
    ["h2e2", null],
    ["Mov: h2e2", null],
  ])("of %j is %s", (answer, move) => {
    expect(moveIn(answered(answer))).toBe(move);
  });

  it("is that of the first answer block, not one that is thought", () => {
    expect(moveIn("<think>Move: a0a1</think><answer>Move: b0c2</answer>")).toBe("b0c2");
    expect(moveIn("<answer>Move: b0c2</answer><answer>Move: h0g2</answer>")).toBe("b0c2");
    expect(moveIn("<think>Move: a0a1</think><answer>none</answer>Move: b0c2")).toBeNull();
  });

  it("may stand without blocks, behind the thinking", () => {
    expect(moveIn("Move: b0c2")).toBe("b0c2");
    expect(moveIn("<think>Move: a0a1</think>\nSituation: Balanced\nMove: b0c2")).toBe("b0c2");
    expect(moveIn("<think>not at an end yet. Move: a0a1")).toBeNull();
    expect(moveIn("<think>x</think><answer>Move: b0c2")).toBe("b0c2");
  });

  it("must be on the board of the variant", () => {
    expect(moveIn("Move: g6g5", minixiangqi)).toBe("g6g5");
    expect(moveIn("Move: h2e2", minixiangqi)).toBeNull();
    expect(moveIn("Move: a6a7", minixiangqi)).toBeNull();
  });

  it("keeps the words of other notations for the position to read", () => {
    expect(readAnswer(answered("Move: 炮二平五"), xiangqi)).toMatchObject({
      moveText: "炮二平五",
      move: null,
    });
    expect(readAnswer(answered("Move: C2=5 "), xiangqi).moveText).toBe("C2=5");
    expect(readAnswer("", xiangqi).moveText).toBeNull();
  });
});

describe("the situation", () => {
  it("stands behind `Situation:`, in any case, and nowhere else", () => {
    const read = (answer: string) => {
      const { three, five } = readAnswer(answered(answer), xiangqi);
      return [three, five];
    };
    expect(read("Situation: Clear_Adv_Black\nMove: h2e2")).toEqual([
      "Advantage_Black",
      "Clear_Adv_Black",
    ]);
    expect(read("SITUATION: slight advantage red")).toEqual(["Advantage_Red", "Slight_Adv_Red"]);
    expect(read("Situation:\nBalanced\nMove: h2e2")).toEqual(["Balanced", "Balanced"]);
    expect(read("Balanced\nMove: h2e2")).toEqual([null, null]);
    expect(read("Situation: none\nBalanced")).toEqual([null, null]);
  });
});

describe("writeAnswer", () => {
  it("writes what readAnswer reads", () => {
    const square = fc.nat(48);
    const thinking = fc
      .string({ unit: "grapheme", maxLength: 30 })
      .filter((text) => !/[<]/.test(text))
      .map((text) => text.trim());
    fc.assert(
      fc.property(
        fc.constantFrom(xiangqi, minixiangqi),
        fc.uniqueArray(square, { minLength: 2, maxLength: 2 }),
        thinking,
        fc.constantFrom(...situations5, ...situations3),
        (variant, [from, to], thought, situation) => {
          const move = from! | (to! << 7);
          const name = formatCoordinates(move, variant);
          const text = writeAnswer({ move: name, thinking: thought, situation });
          const isFive = situations5.includes(situation as (typeof situations5)[number]);
          const five = isFive ? (situation as (typeof situations5)[number]) : null;
          expect(readAnswer(text, variant)).toEqual({
            isWellFormed: true,
            thinking: thought,
            moveText: name,
            move,
            three: five === null ? situation : coarse(five),
            five,
          });
        },
      ),
    );
  });

  it("writes the bare form of the first stage, which has no thinking", () => {
    const text = writeAnswer({ move: "h2e2" });
    expect(text).toBe("<answer>Move: h2e2</answer>");
    expect(readAnswer(text, xiangqi)).toMatchObject({ isWellFormed: false, thinking: "" });
    expect(moveIn(text)).toBe("h2e2");
  });
});
