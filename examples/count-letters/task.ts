// A task in one file: how many letters a are on a grid?

import { z } from "zod";
import { defineTask } from "alidade";

const config = z.object({ size: z.int().min(2).max(6).default(3).describe("rows and columns") });

interface LetterGrid {
  readonly rows: readonly string[];
}

const answer = ({ rows }: LetterGrid): string => String(rows.join("").split("a").length - 1);

export const countLetters = defineTask<LetterGrid, z.output<typeof config>>({
  name: "count-letters",
  summary: "how many letters a are on a grid",
  config,
  scores: { right: "the count is right", number: "the answer is a number" },
  accuracy: "right",

  make: (random, { size }) => {
    const share = random.uniform(); // few a on one grid, many on another: no count is a good guess
    const letter = (): string => (random.uniform() < share ? "a" : random.pick(["b", "c", "d"]));
    const row = (): string => Array.from({ length: size }, letter).join("");
    return { rows: Array.from({ length: size }, row) };
  },
  prompt: ({ rows }) => [{ role: "user", content: rows.join("\n") }],
  gold: (item) => answer(item),
  score: (item, { text }) => ({
    right: Number(text === answer(item)),
    number: Number(/^\d+$/.test(text)),
  }),
  key: ({ rows }) => rows.join("/"),
});
