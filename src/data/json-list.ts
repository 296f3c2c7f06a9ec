// A JSON file that is one list, as Python's json.dump writes it: on one line, or indented over many.

import { DataError, shownJson } from "../core/errors.ts";
import { readText } from "./text-file.ts";

/** A value of the list, and file, line and number (from 1) for errors. */
export interface ListedValue {
  readonly value: unknown;
  readonly where: string;
}

/** The line (from 1) on which each value of a list begins. `text` is a valid JSON list. */
function linesOfValues(text: string): number[] {
  const lines: number[] = [];
  let [line, depth, isInString, isInValue] = [1, 0, false, false];
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (isInString) {
      if (character === "\\") at++;
      else if (character === '"') isInString = false;
    } else if (character === "\n") line++;
    else if (depth === 1 && character === ",") isInValue = false;
    else if (!/\s/.test(character)) {
      if (depth === 1 && character !== "]" && !isInValue) {
        lines.push(line);
        isInValue = true;
      }
      if (character === '"') isInString = true;
      else if (character === "[" || character === "{") depth++;
      else if (character === "]" || character === "}") depth--;
    }
  }
  return lines;
}

/** Values of a JSON file. Throws a DataError when it is no list, or an empty one. */
export async function readJsonList(path: string): Promise<ListedValue[]> {
  const text = await readText(path);
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (cause) {
    const hint = (cause as Error).message;
    throw new DataError({ where: path, expected: "JSON", got: shownJson(text), hint, cause });
  }
  if (!Array.isArray(list) || list.length === 0) {
    const expected = "a list with at least one record";
    throw new DataError({ where: path, expected, got: shownJson(list) });
  }
  const lines = linesOfValues(text);
  return list.map((value: unknown, index) => ({
    value,
    where: `${path}, line ${lines[index]}, record ${index + 1}`,
  }));
}
