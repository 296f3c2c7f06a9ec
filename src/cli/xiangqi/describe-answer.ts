// What a model wrote at a move, told in a line.

import type { Choice } from "../../systems/xiangqi-r1/player.ts";
import { formatCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import type { Variant } from "../../tasks/xiangqi/rules/variant.ts";

/** Texts of models can be long, and a terminal would obey control characters in them. */
function oneLine(text: string, longest: number): string {
  const parts = text.split(/[\r\n]+/).map((line) => line.trim());
  const line = parts.filter((part) => part !== "").join(" / ");
  const characters = Array.from(line.replaceAll(/[\p{Cc}\p{Cf}]/gu, "\uFFFD"));
  return characters.length <= longest
    ? characters.join("")
    : `${characters.slice(0, longest - 1).join("")}…`;
}

const LONGEST_TEXT = 160;

/** How many answers a choice needed, and what the last one says of the position; empty for players that write nothing. */
export function describeAnswer({ attempts }: Choice): string {
  const last = attempts.at(-1);
  if (last === undefined) return "";
  const { answer, five, three } = last.judgement;
  const situation = five ?? three;
  return [
    attempts.length === 1 ? "1 answer" : `${attempts.length} answers`,
    ...(situation === null ? [] : [`situation ${situation}`]),
    ...(answer.thinking === "" ? [] : [`thinking: ${oneLine(answer.thinking, LONGEST_TEXT)}`]),
  ].join("; ");
}

/** A line for every different text of a choice without a legal move: how often it came, and the move on this board that it means. */
export function listAttempts({ attempts }: Choice, variant: Variant): string[] {
  const counts = new Map<string, number>();
  for (const { text, judgement } of attempts) {
    const { move } = judgement;
    const meant = move === null ? "no move" : formatCoordinates(move, variant);
    const line = `${oneLine(text, LONGEST_TEXT)} (${meant})`.trimStart();
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  return [...counts].map(([line, count]) => `${count} x ${line}`);
}
