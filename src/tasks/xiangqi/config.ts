// Settings of the Xiangqi task.

import { z } from "zod";
import { GOOD_LOSS } from "./item.ts";
import { promptTemplates } from "./prompt.ts";
import { variantNames, variants } from "./rules/variant.ts";

export const selfPlaySettings = z.object({
  minPieces: z.int().min(2).max(32).default(8).describe("fewest pieces of a random start"),
  maxPieces: z.int().min(2).max(32).default(14).describe("most pieces of a random start"),
  maxImbalance: z
    .number()
    .min(0)
    .default(200)
    .describe("largest difference in material of a random start, in centipawns"),
  depths: z
    .array(z.int().min(1).max(8))
    .min(1)
    .default([1, 2])
    .describe("plies that the search looks ahead; drawn for each game"),
  randomShare: z.number().min(0).max(1).default(0.2).describe("share of moves drawn at random"),
  maxPlies: z.int().min(1).default(120).describe("a game that lasts longer is a draw"),
});
export type SelfPlaySettings = z.output<typeof selfPlaySettings>;

const settings = z.object({
  variant: z
    .enum(variantNames)
    .default("xiangqi")
    .describe("xiangqi (9x10) or minixiangqi (7x7, without advisors, elephants and river)"),
  view: z
    .enum(["mover", "board"])
    .default("board")
    .describe(
      "board: as it is; mover: turned so that the side to move is Red at the bottom, in prompts and answers",
    ),
  prompt: z
    .enum(promptTemplates)
    .default("board")
    .describe("board (words, for language models) or pieces (letters and squares)"),
  target: z
    .enum(["played", "best"])
    .default("played")
    .describe(
      "move of a gold answer: the one of the game, or the engine's; the other where one is unknown",
    ),
  goodLoss: z
    .number()
    .min(0)
    .default(GOOD_LOSS)
    .describe("a good move loses at most so many centipawns against the best one"),
  bestMargin: z
    .number()
    .min(0)
    .default(0)
    .describe(
      "moves that lose at most so many centipawns count as best too; 0: the engine's move alone",
    ),
  depth: z
    .int()
    .min(1)
    .max(8)
    .default(3)
    .describe("made items: plies of our search behind their labels"),
  selfPlay: selfPlaySettings.prefault({}).describe("made items: the games they come from"),
});

export const xiangqiConfig = settings.check(({ value, issues }) => {
  const { minPieces, maxPieces } = value.selfPlay;
  // The settings' error adds what came.
  const refuse = (name: string, message: string): void =>
    void issues.push({ code: "custom", path: ["selfPlay", name], input: value, message });
  const most = 2 * variants[value.variant].most.reduce((sum, count) => sum + count, 0);
  if (maxPieces > most) refuse("maxPieces", `at most ${most}, the pieces of ${value.variant}`);
  if (minPieces > maxPieces) refuse("minPieces", `at most maxPieces (${maxPieces})`);
});
export type XiangqiConfig = z.output<typeof xiangqiConfig>;
