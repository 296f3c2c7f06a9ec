// The Xiangqi task: judge a position and choose a move.
//
// Paper: Xiangqi-R1, arXiv:2507.12215, sections 3.4 (rewards) and 4.2 (metrics), as a re-implementation quotes them.

import { DataError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import { defineTask, type Output, type Scores } from "../../core/task.ts";
import { readAnswer, writeAnswer, type Answer } from "./answer.ts";
import { type XiangqiConfig, xiangqiConfig } from "./config.ts";
import { Search, searchId } from "./engines/search.ts";
import { materialBalance } from "./engines/static-value.ts";
import { labelsOf, phaseOf, phases, positionOf, variantOf, type XiangqiItem } from "./item.ts";
import { formatCoordinates, parseCoordinates } from "./notation/coordinates.ts";
import { parseMove } from "./notation/parse-move.ts";
import { squareTokens, xiangqiPrompt } from "./prompt.ts";
import { formatFen, kindName } from "./rules/fen.ts";
import { MOST_MOVES, type Move, moveFrom, type Position, RED, sideOf } from "./rules/position.ts";
import { minixiangqi, type Variant, xiangqi } from "./rules/variant.ts";
import { readRow, rowFields, writeRow } from "./rows.ts";
import { playGame, randomPosition } from "./self-play.ts";
import { type Situation3, type Situation5, situations5, turnSituation } from "./situation.ts";
import { moverView, positionKey, turnMove, turnPosition } from "./view.ts";

/** Losses beyond this are one blunder like another: a mate overlooked would drown all others in a mean. */
const LARGEST_LOSS = 1_000;
/** Steps in which the thinking of our own answers names the material, in centipawns, and its largest value. */
const MATERIAL_STEP = 100;
const MATERIAL_LIMIT = 1_500;

/** The board of an item, as its FEN shows it: what is asked without a config. */
const boardOf = ({ fen }: XiangqiItem): Variant =>
  fen.split("/").length === minixiangqi.ranks ? minixiangqi : xiangqi;

const searches = new Map<Variant, Search>();
function searchOf(variant: Variant): Search {
  const known = searches.get(variant) ?? new Search(variant);
  searches.set(variant, known);
  return known;
}

function make(random: Random, config: XiangqiConfig): XiangqiItem {
  const variant = variantOf(config);
  const search = searchOf(variant);
  for (;;) {
    const start = randomPosition(random, variant, config.selfPlay);
    const { moves, winner } = playGame(search, start, random, config.selfPlay);
    if (moves.length === 0) continue;
    const ply = random.integer(moves.length);
    for (const move of moves.slice(0, ply)) start.make(move);
    const position = start.copy();
    const analysis = search.analyse(position, { depth: config.depth, lines: 128 });
    return {
      fen: formatFen(position),
      ply,
      phase: phaseOf(ply),
      winner,
      played: formatCoordinates(moves[ply]!, variant),
      ...labelsOf(position, analysis, searchId),
      source: "self-play",
    };
  }
}

/** Whether prompts and answers see the board turned. A published conversation shows it as it is, whatever the view. */
const isTurned = (item: XiangqiItem, position: Position, { view }: XiangqiConfig): boolean =>
  view === "mover" && position.side !== RED && item.messages === undefined;

/** The thinking of our own gold answers: what can be counted on the board. */
function countedThinking(position: Position): string {
  const own = position.side === RED ? 1 : -1;
  const balance = Math.round((own * materialBalance(position)) / MATERIAL_STEP) * MATERIAL_STEP;
  const shown = Math.max(-MATERIAL_LIMIT, Math.min(MATERIAL_LIMIT, balance));
  return `Material: ${shown}\nCheck: ${position.isInCheck ? "yes" : "no"}`;
}

/** The comment of a row, unless it names squares and sides that the model sees turned, or tags that would end the block. */
function goldThinking({ comment }: XiangqiItem, position: Position, turned: boolean): string {
  const isUsable = comment !== undefined && !turned && !/<\/?(?:think|answer)>/.test(comment);
  return isUsable ? comment : countedThinking(position);
}

function gold(item: XiangqiItem, config: XiangqiConfig): string {
  if (item.response !== undefined) return item.response;
  const variant = variantOf(config);
  const position = positionOf(item, variant);
  const turned = isTurned(item, position, config);
  const target = config.target === "best" ? (item.best ?? item.played) : (item.played ?? item.best);
  if (target === undefined) {
    const where = `gold answer of ${item.fen}${item.source === undefined ? "" : ` (${item.source})`}`;
    const hint = "a position alone can be asked, not imitated";
    throw new DataError({
      where,
      expected: "a move that was played, or the best one",
      got: "neither",
      hint,
    });
  }
  const move = turned
    ? formatCoordinates(turnMove(parseCoordinates(target, variant)!, variant), variant)
    : target;
  const known = item.situation5 ?? item.situation3;
  if (known === undefined) return writeAnswer({ move });
  const situation = turned ? turnSituation(known) : known;
  return writeAnswer({ move, situation, thinking: goldThinking(item, position, turned) });
}

/** What an output says, and what is true of it; moves and classes on the board as it is, whatever the model saw. */
export interface Judgement {
  readonly answer: Answer;
  /** null: none could be read. */
  readonly move: Move | null;
  readonly three: Situation3 | null;
  readonly five: Situation5 | null;
  readonly isLegal: boolean;
  /** null: the engine's opinion of this move is not known. */
  readonly isGood: boolean | null;
  readonly isBest: boolean | null;
  /** Centipawns lost against the best move, at most 1000; null: not known, or not legal. */
  readonly loss: number | null;
}

/** The move of an answer: by its squares, or a legal one in any other notation. */
function moveOf(answer: Answer, position: Position, turned: boolean): Move | null {
  if (answer.moveText === null) return null;
  const seen = turned ? turnPosition(position) : position;
  const move = answer.move ?? parseMove(seen, answer.moveText);
  return move === null || !turned ? move : turnMove(move, position.variant);
}

function judgeMove(
  item: XiangqiItem,
  position: Position,
  move: Move | null,
  { goodLoss, bestMargin }: XiangqiConfig,
): Pick<Judgement, "isLegal" | "isGood" | "isBest" | "loss"> {
  if (move === null || !position.isLegal(move)) {
    return { isLegal: false, isGood: false, isBest: false, loss: null };
  }
  const name = formatCoordinates(move, position.variant);
  const { values, best } = item;
  if (values?.[name] !== undefined) {
    const loss = Math.max(...Object.values(values)) - values[name];
    // Where nobody named the engine's move, it is one of the highest value.
    const isNearBest = (best === undefined || bestMargin > 0) && loss <= bestMargin;
    const isBest = name === best || isNearBest;
    const isGood = isBest || loss <= goodLoss;
    return { isLegal: true, isGood, isBest, loss: Math.min(loss, LARGEST_LOSS) };
  }
  const isBest = best === undefined ? null : name === best;
  const isGood = isBest === true || (name === item.played ? (item.isGood ?? null) : null);
  // No loss either, not even the 0 of the best move: a mean over best moves alone would always be 0.
  return { isLegal: true, isGood, isBest, loss: null };
}

/** Judges a text that a model wrote; nothing in it can make this throw. */
export function judge(item: XiangqiItem, text: string, config: XiangqiConfig): Judgement {
  const variant = variantOf(config);
  const position = positionOf(item, variant);
  const turned = isTurned(item, position, config);
  const answer = readAnswer(text, variant);
  const move = moveOf(answer, position, turned);
  const { three, five } = answer;
  return {
    answer,
    move,
    three: three !== null && turned ? turnSituation(three) : three,
    five: five !== null && turned ? turnSituation(five) : five,
    ...judgeMove(item, position, move, config),
  };
}

const asScore = (fact: boolean | null): number | null => (fact === null ? null : Number(fact));

/** `fact`, where a condition holds too; what is not known stays so. */
const onlyIf = (condition: boolean, fact: boolean | null): number | null =>
  asScore(fact === null ? null : fact && condition);

function score(item: XiangqiItem, { text }: Output, config: XiangqiConfig): Scores {
  const { answer, move, three, five, isLegal, isGood, isBest, loss } = judge(item, text, config);
  const right3 = item.situation3 === undefined ? null : three === item.situation3;
  const right5 = item.situation5 === undefined ? null : five === item.situation5;
  const format = answer.isWellFormed && move !== null;
  return {
    format: Number(format),
    parsed: Number(move !== null),
    legal: Number(isLegal),
    good: asScore(isGood),
    best: asScore(isBest),
    analysis: asScore(right3),
    situation3: onlyIf(isLegal, right3),
    situation5: onlyIf(isLegal, right5),
    centipawnLoss: loss,
    formattedLegal: onlyIf(format, isLegal),
    formattedGood: onlyIf(format, isGood),
    formattedBest: onlyIf(format, isBest),
    formattedAnalysis: onlyIf(format, right3),
    balanced: three === null ? null : Number(three === "Balanced"),
    thinkingLength: answer.thinking.length,
  };
}

function errorClass(
  item: XiangqiItem,
  { text, stopReason }: Output,
  config: XiangqiConfig,
): string | null {
  const { move, isLegal } = judge(item, text, config);
  if (isLegal) return null;
  if (move === null) return stopReason === "length" ? "too long" : "no move";
  const position = positionOf(item, variantOf(config));
  const piece = position.board[moveFrom(move)]!;
  if (piece === 0) return "moved nothing";
  if (sideOf(piece) !== position.side) return "moved the other side's piece";
  const moves = new Int32Array(MOST_MOVES);
  const isGenerated = moves.subarray(0, position.generate(moves, 0)).includes(move);
  if (isGenerated) return "left the general in check";
  return `wrong step: ${kindName(piece)}`;
}

export const xiangqiTask = defineTask<XiangqiItem, XiangqiConfig>({
  name: "xiangqi",
  summary: "judge a position of Chinese chess and choose a move",
  config: xiangqiConfig,
  scores: {
    format: "1 when the output is one think block and one answer block, with a move in it",
    parsed: "1 when a move can be read",
    legal: "1 when the move is legal",
    good: "1 when it loses at most goodLoss centipawns against the best one; abstains where the engine said nothing of it",
    best: "1 when it is the engine's move",
    analysis: "1 when the situation is right in three classes, whatever the move",
    situation3: "1 when the move is legal and the situation right in three classes",
    situation5: "the same in five classes",
    centipawnLoss: `centipawns lost against the best move, at most ${LARGEST_LOSS}; abstains without a legal move and where the value of every move is not known`,
    formattedLegal: "legal, and format holds",
    formattedGood: "good, and format holds",
    formattedBest: "best, and format holds",
    formattedAnalysis: "analysis, and format holds",
    balanced: "1 when the situation is called balanced; abstains when none is named",
    thinkingLength: "characters of the thinking",
  },
  accuracy: "legal",
  tokens: (config) => [
    ...squareTokens(variantOf(config)),
    ...situations5,
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "Situation: ",
    "\nMove: ",
    "Move: ",
    "Material: ",
    "\nCheck: ",
    "yes",
    "no",
    ...Array.from({ length: (2 * MATERIAL_LIMIT) / MATERIAL_STEP + 1 }, (_, index) =>
      String(index * MATERIAL_STEP - MATERIAL_LIMIT),
    ),
  ],
  make,
  prompt: (item, config) => {
    if (item.messages !== undefined) return item.messages;
    const position = positionOf(item, variantOf(config));
    const seen = config.view === "mover" ? moverView(position) : position;
    return xiangqiPrompt(config.prompt, seen);
  },
  gold,
  score,
  rows: {
    fields: [],
    goldFields: [],
    optionalFields: rowFields,
    optionalGoldFields: [],
    read: (row, where, config) => readRow(row, where, variantOf(config)),
    write: (item, config) => writeRow(item, variantOf(config)),
  },
  // Mirror images, and the same position with the colours exchanged, are one problem.
  key: (item) => positionKey(positionOf(item, boardOf(item))),
  levels: phases,
  level: (item) => item.phase,
  errorClass,
});
