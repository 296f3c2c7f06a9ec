// A task of one file: count a letter on a grid.

import { z } from "zod";
import { defineTask } from "alidade";

const config = z.object({ size: z.int().min(2).max(6).default(4).describe("rows and columns") });

export interface LetterGrid {
  readonly rows: readonly string[];
}

const count = ({ rows }: LetterGrid): number => rows.join("").split("a").length - 1;

export const countLetters = defineTask<LetterGrid, z.output<typeof config>>({
  name: "count-letters",
  summary: "how many letters a are on the grid",
  config,
  scores: { right: "the number is right", number: "the answer is a number" },
  accuracy: "right",
  make: (random, { size }) => ({
    rows: Array.from({ length: size }, () =>
      Array.from({ length: size }, () => random.pick(["a", "b"])).join(""),
    ),
  }),
  prompt: ({ rows }) => [{ role: "user", content: rows.join("\n") }],
  gold: (item) => String(count(item)),
  score: (item, { text }) => ({
    right: text === String(count(item)) ? 1 : 0,
    number: /^\d+$/.test(text) ? 1 : 0,
  }),
  key: ({ rows }) => rows.join("/"),
});
