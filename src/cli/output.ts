// Text for people: tables, numbers, durations.

/** Where text goes: a process stream, or a list in a test. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Rows as left-aligned columns; the first row is the header. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "))
    .map((line) => line.trimEnd())
    .join("\n");
}

/** `text` in lines of at most `width`, each after `indent`. */
export function wrapText(text: string, width: number, indent = ""): string {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1)!;
    if (last !== "" && indent.length + last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return lines.map((line) => indent + line).join("\n");
}

/** Every line after `indent`. */
export function indentText(text: string, indent: string): string {
  return text.replace(/^/gm, indent);
}

/** Four significant digits, without trailing zeros. */
export function formatNumber(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : String(value);
}

/** 7 as `07`. */
export function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}

/** For example `0:07`, `12:30`, `1:02:03`. */
export function formatDuration(durationMs: number): string {
  const seconds = Math.max(0, Math.round(durationMs / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const head = hours > 0 ? `${hours}:${twoDigits(minutes)}` : String(minutes);
  return `${head}:${twoDigits(seconds % 60)}`;
}

/** A value in a settings table; text stays bare. */
export function formatValue(value: unknown): string {
  if (value === undefined) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}
