// Who chooses moves in a game: a trained model, our search, or chance.

import type { Random } from "../../core/random.ts";
import { rollOut } from "../../rollout/single-turn.ts";
import type { EngineLine } from "../../tasks/xiangqi/engines/engine.ts";
import { Search } from "../../tasks/xiangqi/engines/search.ts";
import type { XiangqiConfig } from "../../tasks/xiangqi/config.ts";
import { phaseOf, type XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { parseCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatFen } from "../../tasks/xiangqi/rules/fen.ts";
import type { Game } from "../../tasks/xiangqi/rules/game.ts";
import { MOST_MOVES, type Move } from "../../tasks/xiangqi/rules/position.ts";
import type { Variant } from "../../tasks/xiangqi/rules/variant.ts";
import { judge, type Judgement } from "../../tasks/xiangqi/task.ts";
import type { OpenedModel } from "../recipe.ts";

export interface Choice {
  /** A legal move; null: none came in all attempts. */
  readonly move: Move | null;
  /** What a model wrote and how it was judged, the last one being the choice; empty for other players. */
  readonly attempts: readonly { readonly text: string; readonly judgement: Judgement }[];
}

/** Where a game stands, and how a move would end it. */
export type Turn = Pick<Game, "position" | "endAfter">;

export interface Player {
  readonly name: string;
  /** A move in each game, all of which go on. `random` gives each its own stream. */
  choose(turns: readonly Turn[], random: (index: number) => Random): Promise<Choice[]>;
}

export const randomPlayer: Player = {
  name: "random moves",
  choose: async (turns, random) =>
    turns.map(({ position }, index) => ({
      move: random(index).pick(position.legalMoves()),
      attempts: [],
    })),
};

/** The best move of the search, which does not know what was played before: one that the rules of repetition spoil is passed over. */
export function searchedMove(search: Search, turn: Turn, depth: number): Move {
  const { position } = turn;
  const { side, variant } = position;
  const isSpoilt = ({ move, value }: EngineLine): boolean => {
    const end = turn.endAfter(parseCoordinates(move, variant)!);
    return end !== null && (end.winner === null ? value > 0 : end.winner !== side);
  };
  const [best] = search.analyse(position, { depth }).lines;
  const line = isSpoilt(best!)
    ? search.analyse(position, { depth, lines: MOST_MOVES }).lines.find((one) => !isSpoilt(one))
    : best;
  return parseCoordinates((line ?? best!).move, variant)!;
}

export function searchPlayer(variant: Variant, depth: number): Player {
  const search = new Search(variant);
  return {
    name: `search at depth ${depth}`,
    choose: async (turns) =>
      turns.map((turn) => ({ move: searchedMove(search, turn, depth), attempts: [] })),
  };
}

/** A model that may write up to `attempts` answers until one has a legal move. */
export function modelPlayer(
  { engine, environment }: OpenedModel<XiangqiItem, XiangqiConfig>,
  options: { readonly maxTokens: number; readonly temperature: number; readonly attempts: number },
): Player {
  const { maxTokens, temperature, attempts } = options;
  const { config } = environment;
  return {
    name: "model",
    choose: async (turns, random) => {
      const items = turns.map(({ position }): XiangqiItem => ({
        fen: formatFen(position),
        ply: 0,
        phase: phaseOf(0),
        winner: "unknown",
      }));
      const streams = turns.map((_turn, index) => random(index));
      const rollouts = await rollOut(engine, environment, items, {
        group: attempts,
        maxTokens,
        temperature,
        random: (prompt, sample) => streams[prompt]!.fork("answer", sample),
      });
      return rollouts.map(({ item, completions }) => {
        const judged = completions.map(({ text }) => ({
          text,
          judgement: judge(item, text, config),
        }));
        const first = judged.findIndex(({ judgement }) => judgement.isLegal);
        if (first < 0) return { move: null, attempts: judged };
        return { move: judged[first]!.judgement.move, attempts: judged.slice(0, first + 1) };
      });
    },
  };
}
