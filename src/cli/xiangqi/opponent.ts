// Who a person plays against: a trained model, our search, or an engine beside us.

import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ConfigError } from "../../core/errors.ts";
import { RunDirectory } from "../../run/run-directory.ts";
import { type Player, searchPlayer } from "../../systems/xiangqi-r1/player.ts";
import { openPlayer, xiangqiR1System } from "../../systems/xiangqi-r1/system.ts";
import type { XiangqiEngine } from "../../tasks/xiangqi/engines/engine.ts";
import { openExternalEngine } from "../../tasks/xiangqi/engines/external-engine.ts";
import { variantOf } from "../../tasks/xiangqi/item.ts";
import { parseCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatFen } from "../../tasks/xiangqi/rules/fen.ts";
import { type Variant, variants } from "../../tasks/xiangqi/rules/variant.ts";
import { refuseCustomRun } from "../custom-run.ts";
import { findModel } from "../find-model.ts";
import { storedConfig } from "../stored-config.ts";
import { splitCommandLine } from "./command-line.ts";

/** A search blocks the program, Ctrl-C included: this deep it takes seconds, deeper it would take minutes. */
export const DEEPEST_SEARCH = 8;

/** An engine that needs longer for a move has hung. */
const ENGINE_TIMEOUT_MS = 120_000;

interface OpenedOpponent {
  readonly player: Player;
  readonly dispose: () => void | Promise<void>;
}

/** An opponent that is known to exist; its weights or program are only loaded by `open`. */
export interface Opponent {
  readonly variant: Variant;
  readonly open: () => Promise<OpenedOpponent>;
}

/** The model in a run, or in the model folder of one. Throws a ConfigError for any other path. */
export type FindTrainedModel = (path: string) => Opponent;

export interface OpponentOptions {
  readonly opponent: string;
  readonly depth: number;
  readonly engine?: string;
  readonly protocol?: "uci" | "ucci";
  readonly variant?: Variant["name"];
}

export const findTrainedModel: FindTrainedModel = (path) => {
  if (!existsSync(path)) {
    const expected = "search, engine, or the folder of a run";
    throw new ConfigError({ where: "--opponent", expected, got: JSON.stringify(path) });
  }
  const modelDirectory = findModel(path);
  const run = dirname(resolve(modelDirectory));
  const { name } = xiangqiR1System;
  const refuse = (got: string): ConfigError =>
    new ConfigError({ where: path, expected: `a run of ${name}, or its model folder`, got });
  if (!existsSync(join(run, "run.json"))) throw refuse("a model outside of a run");
  const { record } = RunDirectory.open(run);
  refuseCustomRun(record, path, `only models of ${name} play`);
  if (record.system !== name) throw refuse(`one of ${record.system}`);
  const config = storedConfig(xiangqiR1System, record, run);
  return {
    variant: variantOf(config.task),
    open: async () => {
      const { player, dispose } = await openPlayer(config, modelDirectory);
      return { player: { ...player, name: `model of ${path}` }, dispose };
    },
  };
};

const enginePlayer = (engine: XiangqiEngine, depth: number): Player => ({
  name: `${engine.id}, depth ${depth}`,
  choose: (turns) =>
    Promise.all(
      turns.map(async ({ position }) => {
        const { lines } = await engine.analyse(formatFen(position), { depth });
        return { move: parseCoordinates(lines[0]!.move, engine.variant), attempts: [] };
      }),
    ),
});

function findEngine({ engine, protocol, depth }: OpponentOptions, variant: Variant): Opponent {
  if (engine === undefined || protocol === undefined) {
    throw new ConfigError({
      where: "--opponent engine",
      expected: "--engine, its command line, and --protocol",
      got: engine === undefined ? "no --engine" : "no --protocol",
    });
  }
  const command = splitCommandLine(engine);
  return {
    variant,
    open: async () => {
      const timeoutMs = ENGINE_TIMEOUT_MS;
      const opened = await openExternalEngine({ command, protocol, variant, timeoutMs });
      return { player: enginePlayer(opened, depth), dispose: () => opened.close() };
    },
  };
}

function findSearch({ depth }: OpponentOptions, variant: Variant): Opponent {
  if (depth > DEEPEST_SEARCH) {
    const expected = `--depth up to ${DEEPEST_SEARCH}`;
    throw new ConfigError({ where: "--opponent search", expected, got: String(depth) });
  }
  const open = async (): Promise<OpenedOpponent> => ({
    player: searchPlayer(variant, depth),
    dispose: () => undefined,
  });
  return { variant, open };
}

/** The opponent that the options name. Throws a ConfigError for options that contradict each other. */
export function findOpponent(options: OpponentOptions, findTrained: FindTrainedModel): Opponent {
  const { opponent, engine, protocol, variant: asked } = options;
  if (opponent !== "engine" && (engine !== undefined || protocol !== undefined)) {
    const expected = "--opponent engine with --engine and --protocol";
    throw new ConfigError({ where: "play", expected, got: `--opponent ${opponent}` });
  }
  if (opponent === "engine") return findEngine(options, variants[asked ?? "xiangqi"]);
  if (opponent === "search") return findSearch(options, variants[asked ?? "xiangqi"]);
  const model = findTrained(opponent);
  if (asked !== undefined && asked !== model.variant.name) {
    const expected = `--variant ${model.variant.name}, the board of the run`;
    throw new ConfigError({ where: opponent, expected, got: asked });
  }
  return model;
}
