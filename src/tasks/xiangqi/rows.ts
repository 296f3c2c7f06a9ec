// Rows of published and of our own files as items: one JSON object a position (`{"fen": …, "played": …, …}`), or a conversation with
// the same fields beside it (`{"messages": […], "meta": {"fen": …}}`).
//
// Fields: docs of the xiangqi task. Values are centipawns for Red, `values` those of every legal move for the side to move. The
// conversations that a re-implementation publishes (its build_xiangqi_sft_dataset.py) call three of them otherwise: `played_uci`,
// `best_uci`, `is_good_move`.

import { z } from "zod";
import { DataError, shownJson } from "../../core/errors.ts";
import type { Message } from "../../core/messages.ts";
import { GOOD_LOSS, phaseOf, phases, plyOf, type XiangqiItem } from "./item.ts";
import { formatCoordinates, parseCoordinates } from "./notation/coordinates.ts";
import { formatFen, parseFen } from "./rules/fen.ts";
import { RED } from "./rules/position.ts";
import type { Variant } from "./rules/variant.ts";
import { coarse, situationOf, situations3, situations5 } from "./situation.ts";

const rowSchema = z.object({
  fen: z.string(),
  turn: z.enum(["w", "b"]).nullish(),
  ply: z.int().min(0).nullish(),
  phase: z.enum(phases).nullish(),
  winner: z.enum(["red", "black", "draw", "unknown"]).nullish(),
  played: z.string().nullish(),
  played_uci: z.string().nullish(),
  best: z.string().nullish(),
  best_uci: z.string().nullish(),
  value_red_cp: z.number().nullish(),
  value_red_after_played_cp: z.number().nullish(),
  value_red_after_best_cp: z.number().nullish(),
  situation_3: z.enum(situations3).nullish(),
  situation_5: z.enum(situations5).nullish(),
  is_good: z.boolean().nullish(),
  is_good_move: z.boolean().nullish(),
  values: z.record(z.string(), z.number()).nullish(),
  comment: z.string().nullish(),
  source: z.string().nullish(),
  engine: z.string().nullish(),
  headers: z.record(z.string(), z.string()).nullish(),
});

const messagesSchema = z
  .array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() }))
  .min(1);

/** Fields of a row, in either form. */
export const rowFields: readonly string[] = [...Object.keys(rowSchema.shape), "messages", "meta"];

type Fields = z.output<typeof rowSchema>;

function parsed<Value>(schema: z.ZodType<Value>, value: unknown, where: string): Value {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  const field = path.map(String).join(".");
  const got = path.reduce<unknown>(
    (inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key],
    value,
  );
  throw new DataError({
    where: field === "" ? where : `${where}, field ${field}`,
    expected: message
      .replace(/^(?:Invalid (?:input|option)|Too (?:small|big)): expected /, "")
      .replace(/, received .*$/, ""),
    got: shownJson(got),
  });
}

/** Prompt and gold answer of a conversation. */
function readMessages(
  value: unknown,
  where: string,
): { readonly messages: readonly Message[]; readonly response: string | undefined } {
  const messages = parsed(messagesSchema, value, `${where}, field messages`);
  const last = messages.at(-1)!;
  const [prompt, response] =
    last.role === "assistant" ? [messages.slice(0, -1), last.content] : [messages, undefined];
  if (prompt.some(({ role }) => role === "user")) return { messages: prompt, response };
  const got = messages.map(({ role }) => role).join(", ");
  throw new DataError({
    where: `${where}, field messages`,
    expected: "a message of the user",
    got,
  });
}

/** Throws a DataError that begins with `where` and names the field. */
export function readRow(
  row: Readonly<Record<string, unknown>>,
  where: string,
  variant: Variant,
): XiangqiItem {
  const hasMeta = (row["meta"] ?? null) !== null;
  const place = hasMeta ? `${where}, field meta` : where;
  const fields = parsed(rowSchema, hasMeta ? row["meta"] : row, place);
  const { position, moveNumber } = parseFen(fields.fen, { variant, where: `${place}, field fen` });
  const refuse = (field: string, expected: string, got: unknown): DataError =>
    new DataError({ where: `${place}, field ${field}`, expected, got: shownJson(got) });

  const legal = new Set(position.legalMoves());
  if (legal.size === 0) throw refuse("fen", "a position with a legal move", fields.fen);
  const legalName = (field: keyof Fields, text: string): string => {
    const move = parseCoordinates(text, variant);
    if (move !== null && legal.has(move)) return formatCoordinates(move, variant);
    throw refuse(field, "a legal move as h2e2", text);
  };
  const turn = position.side === RED ? "w" : "b";
  if ((fields.turn ?? turn) !== turn) throw refuse("turn", `${turn}, as in the FEN`, fields.turn);
  /** A move under the first of these names that the row has. */
  const moveUnder = (...names: readonly ("played" | "played_uci" | "best" | "best_uci")[]) => {
    const field = names.find((name) => fields[name]);
    return field && legalName(field, fields[field]!);
  };
  const { situation_5: five, situation_3: three } = fields;
  if (five && three && coarse(five) !== three) throw refuse("situation_3", coarse(five), three);
  const valueRed = fields.value_red_cp ?? undefined;
  const fiveByValue = valueRed === undefined ? undefined : situationOf(valueRed);
  const named = three ?? (five && coarse(five));
  // Others may draw the line of balance elsewhere, but a value that favours the other side has the sign of the mover.
  const isOpposed =
    named && fiveByValue && [named, fiveByValue].every((name) => name !== "Balanced");
  if (isOpposed && coarse(fiveByValue) !== named) {
    throw refuse("value_red_cp", `a value for Red that goes with ${five ?? three}`, valueRed);
  }

  const values =
    fields.values &&
    Object.fromEntries(
      Object.entries(fields.values).map(([move, value]) => [legalName("values", move), value]),
    );
  const count = Object.keys(values ?? {}).length;
  if (values && count !== legal.size) {
    throw refuse("values", `a value of each of the ${legal.size} legal moves`, count);
  }
  const isFiveKnown = fiveByValue && (!three || coarse(fiveByValue) === three);
  const situation5 = five ?? (isFiveKnown ? fiveByValue : undefined);
  const ply = fields.ply ?? plyOf(moveNumber, position.side);
  const conversation = row["messages"] == null ? {} : readMessages(row["messages"], where);
  return {
    fen: formatFen(position, moveNumber),
    ply,
    phase: fields.phase ?? phaseOf(ply),
    winner: fields.winner ?? "unknown",
    played: moveUnder("played", "played_uci"),
    best: moveUnder("best", "best_uci"),
    valueRed,
    situation3: three ?? (situation5 && coarse(situation5)),
    situation5,
    isGood: fields.is_good ?? fields.is_good_move ?? undefined,
    playedValueRed: fields.value_red_after_played_cp ?? undefined,
    values: values ?? undefined,
    comment: fields.comment ?? undefined,
    source: fields.source ?? undefined,
    engine: fields.engine ?? undefined,
    headers: fields.headers ?? undefined,
    ...conversation,
  };
}

/** Whether the played move is good, where the value of every move is known. */
function isGoodByValues({ values, played }: XiangqiItem): boolean | undefined {
  if (values === undefined || played === undefined) return undefined;
  return Math.max(...Object.values(values)) - values[played]! <= GOOD_LOSS;
}

/** The row of an item; fields that are not known are left out. */
export function writeRow(item: XiangqiItem, variant: Variant): Readonly<Record<string, unknown>> {
  const { position } = parseFen(item.fen, { variant });
  const forRed = (move: string | undefined): number | undefined => {
    const value = move === undefined ? undefined : item.values?.[move];
    return value === undefined ? undefined : position.side === RED ? value : -value;
  };
  const row = {
    fen: item.fen,
    turn: position.side === RED ? "w" : "b",
    ply: item.ply,
    phase: item.phase,
    winner: item.winner,
    played: item.played,
    best: item.best,
    value_red_cp: item.valueRed,
    value_red_after_played_cp: forRed(item.played) ?? item.playedValueRed,
    value_red_after_best_cp: forRed(item.best) ?? (item.best && item.valueRed),
    situation_3: item.situation3,
    situation_5: item.situation5,
    is_good: item.isGood ?? isGoodByValues(item),
    values: item.values,
    comment: item.comment,
    source: item.source,
    engine: item.engine,
    headers: item.headers,
  };
  const known = Object.fromEntries(Object.entries(row).filter(([, value]) => value !== undefined));
  if (item.messages === undefined) return known;
  const answer = item.response === undefined ? [] : [{ role: "assistant", content: item.response }];
  return { messages: [...item.messages, ...answer], meta: known };
}
