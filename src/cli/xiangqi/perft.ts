// alidade xiangqi perft: how many sequences of legal moves a position has.

import { type Command, Option } from "commander";
import { now } from "../../run/run-directory.ts";
import { formatCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatFen, parseFen } from "../../tasks/xiangqi/rules/fen.ts";
import { perft, perftByMove, perftKinds } from "../../tasks/xiangqi/rules/perft.ts";
import { variantNames, variants } from "../../tasks/xiangqi/rules/variant.ts";
import {
  type CommandContext,
  type CommandResult,
  printResult,
  subcommand,
  wholeNumber,
} from "../command.ts";
import { formatTable } from "../output.ts";

interface PerftOptions {
  readonly json?: boolean;
  readonly depth: number;
  readonly divide?: boolean;
  readonly kinds?: boolean;
  readonly variant: keyof typeof variants;
}

function countLeaves(
  fen: string,
  { depth, divide, kinds, variant: name }: PerftOptions,
): CommandResult {
  const variant = variants[name];
  const { position, moveNumber } = parseFen(fen === "start" ? variant.start : fen, { variant });
  const counts: { depth: number; leaves: number; timeMs: number }[] = [];
  for (let plies = 1; plies <= depth; plies++) {
    const startMs = now();
    const leaves = perft(position, plies);
    counts.push({ depth: plies, leaves, timeMs: now() - startMs });
  }
  const moves = divide
    ? perftByMove(position, depth).map(({ move, leaves }) => ({
        move: formatCoordinates(move, variant),
        leaves,
      }))
    : undefined;
  const rows = counts.map(({ depth: plies, leaves, timeMs }) => {
    // Less than that measures the clock.
    const speed = timeMs < 5 ? "" : `${(leaves / timeMs / 1000).toFixed(2)} million a second`;
    return [String(plies), leaves.toLocaleString("en"), speed];
  });
  const lines = [formatTable([["depth", "leaves", ""], ...rows])];
  if (moves !== undefined) {
    lines.push(
      "",
      formatTable(moves.map(({ move, leaves }) => [move, leaves.toLocaleString("en")])),
    );
  }
  const byKind = kinds ? perftKinds(position, depth) : undefined;
  if (byKind !== undefined) {
    const { captures, checks, ended } = byKind;
    const facts = { captures, checks, "ended a ply before": ended };
    const shown = Object.entries(facts).map(([kind, value]) => [kind, value.toLocaleString("en")]);
    lines.push("", formatTable(shown));
  }
  return {
    json: {
      fen: formatFen(position, moveNumber),
      variant: name,
      counts: counts.map((one) => ({ ...one, leavesPerSecond: (1000 * one.leaves) / one.timeMs })),
      ...(moves && { moves }),
      ...(byKind && { kinds: byKind }),
    },
    text: lines.join("\n"),
  };
}

export function registerPerft(group: Command, context: CommandContext): void {
  subcommand(
    group,
    "perft <fen>",
    "count the sequences of legal moves of a position (`start`: the first one)",
    "alidade xiangqi perft start --depth 4",
  )
    .requiredOption("--depth <number>", "plies; every depth up to it is counted", wholeNumber(1))
    .option("--divide", "also the count behind every move")
    .option("--kinds", "also captures, checks and ended games at the last depth")
    .addOption(new Option("--variant <name>", "board").choices(variantNames).default("xiangqi"))
    .action((fen: string, options: PerftOptions) =>
      printResult(context, options, countLeaves(fen, options)),
    );
}
