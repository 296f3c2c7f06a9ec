// What Xiangqi-R1 reports of a model, beside what costs nothing to reach: legal, good and best moves and the situation, at one and at
// k answers a position.
//
// Paper: Xiangqi-R1, arXiv:2507.12215, section 4.2 and Table 1, as a re-implementation quotes them: metric@k is the share of positions
// where at least one of k answers passes, and a situation counts only beside a legal move.

import { wilsonInterval } from "../../core/statistics.ts";
import type { Output } from "../../core/task.ts";
import type { XiangqiConfig } from "../../tasks/xiangqi/config.ts";
import { phases, type XiangqiItem, positionOf, variantOf } from "../../tasks/xiangqi/item.ts";
import { kindName } from "../../tasks/xiangqi/rules/fen.ts";
import { moveFrom, sideOf } from "../../tasks/xiangqi/rules/position.ts";
import { situations3, situations5 } from "../../tasks/xiangqi/situation.ts";
import { judge, type Judgement } from "../../tasks/xiangqi/task.ts";

/** A share with its 95 % interval (Wilson) and what it is counted over. */
export interface Share {
  readonly value: number;
  readonly ci95: readonly [number, number];
  readonly count: number;
}

const metrics = ["legal", "good", "best", "class3", "class5"] as const;
type Metric = (typeof metrics)[number];
type Metrics = Readonly<Record<Metric, Share | null>>;

/** A position and what a model answered to it, the first answer first. */
export interface AnsweredItem {
  readonly item: XiangqiItem;
  readonly outputs: readonly Output[];
}

export interface XiangqiResult {
  readonly model: string;
  /** Who judged the positions, as their rows say. */
  readonly engine: string;
  readonly positions: number;
  readonly k: number;
  readonly at1: Metrics;
  readonly atK: Metrics;
  readonly parsed: Share;
  readonly format: Share;
  /** Mean recall of the three classes, judged beside legal moves; null where a class does not occur. */
  readonly balancedAccuracy3: number | null;
  /** Mean over legal moves whose value is known. */
  readonly centipawnLoss: { readonly mean: number; readonly count: number } | null;
  readonly byPhase: Readonly<Record<string, Metrics>>;
  readonly bySituation: Readonly<Record<string, Metrics>>;
  /** How often the first answer's move was legal, by the piece that it moves. */
  readonly legalByPiece: Readonly<Record<string, Share>>;
  /** Rows: the right class; columns: the one named; "none": none, or no legal move. */
  readonly confusion3: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Reached without reading the board. */
  readonly floors: {
    readonly alwaysBalanced3: Share | null;
    /** Expected of a legal move drawn at random. */
    readonly randomLegal: { readonly good: number; readonly best: number } | null;
  };
}

function share(facts: readonly boolean[]): Share {
  const right = facts.filter(Boolean).length;
  const { low, high } = wilsonInterval(right, facts.length);
  return { value: right / facts.length, ci95: [low, high], count: facts.length };
}

const optionalShare = (facts: readonly boolean[]): Share | null =>
  facts.length === 0 ? null : share(facts);

interface Judged {
  readonly item: XiangqiItem;
  readonly judgements: readonly Judgement[];
}

/** Whether one answer passes; null: the labels do not say. */
const passes: Readonly<Record<Metric, (item: XiangqiItem, answer: Judgement) => boolean | null>> = {
  legal: (_item, { isLegal }) => isLegal,
  good: (_item, { isGood }) => isGood,
  best: (_item, { isBest }) => isBest,
  class3: ({ situation3 }, { isLegal, three }) =>
    situation3 === undefined ? null : isLegal && three === situation3,
  class5: ({ situation5 }, { isLegal, five }) =>
    situation5 === undefined ? null : isLegal && five === situation5,
};

/** Whether the labels can tell of every legal move, so that what is counted does not depend on what was answered. */
const canTell: Readonly<Record<Metric, (item: XiangqiItem) => boolean>> = {
  legal: () => true,
  good: ({ values }) => values !== undefined,
  best: ({ best, values }) => best !== undefined || values !== undefined,
  class3: ({ situation3 }) => situation3 !== undefined,
  class5: ({ situation5 }) => situation5 !== undefined,
};

function metricsAt(rows: readonly Judged[], k: number): Metrics {
  return Object.fromEntries(
    metrics.map((metric) => {
      const facts: boolean[] = [];
      for (const { item, judgements } of rows) {
        if (!canTell[metric](item)) continue;
        facts.push(judgements.slice(0, k).some((one) => passes[metric](item, one) === true));
      }
      return [metric, optionalShare(facts)];
    }),
  ) as unknown as Metrics;
}

function grouped<Key extends string>(
  rows: readonly Judged[],
  names: readonly Key[],
  nameOf: (item: XiangqiItem) => Key | undefined,
): Record<string, Metrics> {
  const groups = names.map(
    (name) => [name, rows.filter(({ item }) => nameOf(item) === name)] as const,
  );
  return Object.fromEntries(
    groups
      .filter(([, members]) => members.length > 0)
      .map(([name, members]) => [name, metricsAt(members, 1)]),
  );
}

function confusion(rows: readonly Judged[]): Record<string, Record<string, number>> {
  const table: Record<string, Record<string, number>> = {};
  for (const { item, judgements } of rows) {
    if (item.situation3 === undefined) continue;
    const { isLegal, three } = judgements[0]!;
    const row = (table[item.situation3] ??= {});
    const column = isLegal ? (three ?? "none") : "none";
    row[column] = (row[column] ?? 0) + 1;
  }
  return table;
}

function balancedAccuracy(table: Readonly<Record<string, Record<string, number>>>): number | null {
  const recalls = situations3.map((name) => {
    const row = table[name];
    if (row === undefined) return null;
    return (row[name] ?? 0) / Object.values(row).reduce((sum, count) => sum + count, 0);
  });
  if (recalls.includes(null)) return null;
  return recalls.reduce<number>((sum, recall) => sum + recall!, 0) / recalls.length;
}

function legalByPiece(rows: readonly Judged[], config: XiangqiConfig): Record<string, Share> {
  const facts = new Map<string, boolean[]>();
  for (const { item, judgements } of rows) {
    const { move, isLegal } = judgements[0]!;
    if (move === null) continue;
    const position = positionOf(item, variantOf(config));
    const piece = position.board[moveFrom(move)]!;
    const isOwn = piece !== 0 && sideOf(piece) === position.side;
    const name = isOwn ? kindName(piece) : "no own piece";
    facts.set(name, [...(facts.get(name) ?? []), isLegal]);
  }
  return Object.fromEntries([...facts].map(([name, list]) => [name, share(list)]));
}

/** Expected of a legal move drawn at random, over the positions where the value of every move is known. */
function randomFloor(
  rows: readonly Judged[],
  { goodLoss, bestMargin }: XiangqiConfig,
): XiangqiResult["floors"]["randomLegal"] {
  const known = rows.flatMap(({ item }) => (item.values === undefined ? [] : [item.values]));
  if (known.length === 0) return null;
  /** Share of the moves that lose at most so much. */
  const within = (values: Readonly<Record<string, number>>, loss: number): number => {
    const list = Object.values(values);
    const best = Math.max(...list);
    return list.filter((value) => best - value <= loss).length / list.length;
  };
  const bestShare = (values: Readonly<Record<string, number>>): number =>
    bestMargin > 0 ? within(values, bestMargin) : 1 / Object.keys(values).length;
  const mean = (list: readonly number[]): number =>
    list.reduce((sum, value) => sum + value, 0) / list.length;
  return {
    good: mean(known.map((values) => within(values, goodLoss))),
    best: mean(known.map(bestShare)),
  };
}

/** @param answered At least one position, each with equally many answers. */
export function xiangqiResult(
  model: string,
  answered: readonly AnsweredItem[],
  config: XiangqiConfig,
): XiangqiResult {
  const rows = answered.map(({ item, outputs }): Judged => ({
    item,
    judgements: outputs.map(({ text }) => judge(item, text, config)),
  }));
  const k = answered[0]!.outputs.length;
  const firsts = rows.map(({ judgements }) => judgements[0]!);
  const losses = firsts.flatMap(({ loss }) => (loss === null ? [] : [loss]));
  const engines = new Set(answered.map(({ item }) => item.engine ?? "unknown"));
  const confusion3 = confusion(rows);
  const known3 = rows.filter(({ item }) => item.situation3 !== undefined);
  return {
    model,
    engine: [...engines].sort().join("; "),
    positions: rows.length,
    k,
    at1: metricsAt(rows, 1),
    atK: metricsAt(rows, k),
    parsed: share(firsts.map(({ move }) => move !== null)),
    format: share(firsts.map(({ answer, move }) => answer.isWellFormed && move !== null)),
    balancedAccuracy3: balancedAccuracy(confusion3),
    centipawnLoss:
      losses.length === 0
        ? null
        : {
            mean: losses.reduce((sum, loss) => sum + loss, 0) / losses.length,
            count: losses.length,
          },
    byPhase: grouped(rows, phases, ({ phase }) => phase),
    bySituation: grouped(rows, situations5, ({ situation5 }) => situation5),
    legalByPiece: legalByPiece(rows, config),
    confusion3,
    floors: {
      alwaysBalanced3: optionalShare(known3.map(({ item }) => item.situation3 === "Balanced")),
      randomLegal: randomFloor(rows, config),
    },
  };
}

const percent = (value: number): string => (100 * value).toFixed(1);

/** With its count where that is not the number of positions. */
function shown(name: string, one: Share | null, positions: number): string {
  if (one === null) return `${name} unknown`;
  const count = one.count === positions ? "" : ` (n ${one.count})`;
  return `${name} ${percent(one.value)} [${percent(one.ci95[0])}, ${percent(one.ci95[1])}]${count}`;
}

/** Lines for people: the metrics of the paper at one answer and at k, and the floors below them. */
export function describeResult({ at1, atK, k, floors, positions }: XiangqiResult): string {
  const names: Readonly<Record<Metric, string>> = {
    legal: "legal",
    good: "good",
    best: "best",
    class3: "3-class",
    class5: "5-class",
  };
  const lines = [
    `           ${metrics.map((metric) => shown(`${names[metric]}@1`, at1[metric], positions)).join("  ")}  %, n ${positions}`,
  ];
  if (k > 1) {
    const values = metrics.map((metric) => shown(`${names[metric]}@${k}`, atK[metric], positions));
    lines.push(`           ${values.join("  ")}`);
  }
  const { alwaysBalanced3, randomLegal } = floors;
  const floor = [
    ...(alwaysBalanced3 === null
      ? []
      : [`always "Balanced" 3-class ${percent(alwaysBalanced3.value)}`]),
    ...(randomLegal === null
      ? []
      : [
          `random legal moves good ${percent(randomLegal.good)}, best ${percent(randomLegal.best)}`,
        ]),
  ];
  if (floor.length > 0) lines.push(`           floors: ${floor.join("; ")}`);
  return lines.join("\n");
}
