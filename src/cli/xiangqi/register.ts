// alidade xiangqi: what the board alone is good for, without a run.

import type { Command } from "commander";
import type { CommandContext } from "../command.ts";
import { registerPerft } from "./perft.ts";

export function registerXiangqi(program: Command, context: CommandContext): void {
  const group = program.command("xiangqi").description("Chinese chess without a run: perft");
  registerPerft(group, context);
}
