// alidade xiangqi: what the board alone is good for, without a run.

import type { Command } from "commander";
import type { CommandContext } from "../command.ts";
import { registerBoard } from "./board.ts";
import { registerLabel } from "./label.ts";
import { registerPerft } from "./perft.ts";
import { registerPlay } from "./play.ts";

export function registerXiangqi(program: Command, context: CommandContext): void {
  const group = program
    .command("xiangqi")
    .description("Chinese chess without a run: boards, move counts, labels, play");
  registerBoard(group, context);
  registerPerft(group, context);
  registerLabel(group, context);
  registerPlay(group, context);
}
