// Draws docs/run.svg from the recorded output of a run and its curves:
//
//   script -qc "npm start" transcript && npx tsx docs/draw-run.ts transcript runs/alphamaze-tiny-…

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [transcript, run] = process.argv.slice(2);
if (transcript === undefined || run === undefined) {
  throw new Error("draw-run: expected a transcript and a run directory");
}

const width = 900;
const margin = 22;
const size = 12.5;
const letter = size * 0.602;
const lineHeight = 19;
const colors = {
  paper: "#10151d",
  text: "#c9d4e0",
  soft: "#7b8798",
  strong: "#ffffff",
  bar: "#5b9bf0",
};

const redraw = "\r\u001B[2K";
const cursor = "\u001B[1G";
const isNoise = (line: string): boolean =>
  /^Script (started|done)|^> |^.{0,8}npm.{0,20}warn/.test(line) || line.includes(cursor);

/** What is left on the screen: of a line that was redrawn, its last form. */
function screenLines(text: string): string[] {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  const shown = lines
    .filter((line) => !isNoise(line))
    .map((line) =>
      line.slice(line.lastIndexOf(redraw) < 0 ? 0 : line.lastIndexOf(redraw) + redraw.length),
    );
  while (shown.at(-1)?.trim() === "") shown.pop();
  while (shown[0]?.trim() === "") shown.shift();
  return ["$ npm start", ...shown];
}

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function colorOf(line: string): string {
  if (line.startsWith("$")) return colors.strong;
  if (/^(untrained|sft|grpo) |^GRPO gains|^STAGE/.test(line)) return colors.strong;
  return /^(SFT|GRPO|evaluating|model:|alphamaze,)/.test(line) ? colors.soft : colors.text;
}

/** One line of text; the bar is drawn, since fonts disagree on the width of its characters. */
function drawLine(line: string, index: number): string {
  const y = margin + 14 + index * lineHeight;
  const parts = [...line.matchAll(/[━╌]+|(?:(?! {2})[^━╌])+/g)].map((match) => {
    const x = margin + match.index * letter;
    const part = match[0];
    if (!/[━╌]/.test(part)) {
      if (part.trim() === "") return "";
      const start = part.length - part.trimStart().length;
      const text = part.trim();
      return `<text x="${(x + start * letter).toFixed(1)}" y="${y}" textLength="${(text.length * letter).toFixed(1)}" fill="${colorOf(line)}">${escape(text)}</text>`;
    }
    const done = part.lastIndexOf("━") + 1;
    const stroke = (from: number, to: number, style: string): string =>
      from === to
        ? ""
        : `<line x1="${(x + from * letter).toFixed(1)}" x2="${(x + to * letter).toFixed(1)}" y1="${y - 4}" y2="${y - 4}" ${style}/>`;
    return (
      stroke(0, done, `stroke="${colors.bar}" stroke-width="3"`) +
      stroke(done, part.length, `stroke="${colors.soft}" stroke-width="1.5" stroke-dasharray="3 3"`)
    );
  });
  return parts.join("");
}

const lines = screenLines(readFileSync(transcript, "utf8"));
const terminalHeight = 2 * margin + lines.length * lineHeight;
// The first row of curves: accuracy, SFT loss, reward.
const rowHeight = 190;
const curves = readFileSync(join(run, "curves.svg"), "utf8").replace(
  /<svg ([^>]*?)width="\d+" height="\d+" viewBox="[^"]*"/,
  `<svg $1y="${terminalHeight}" width="${width}" height="${rowHeight}" viewBox="0 0 ${width} ${rowHeight}"`,
);
const height = terminalHeight + rowHeight;
writeFileSync(
  new URL("run.svg", import.meta.url),
  [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<rect width="${width}" height="${height}" rx="8" fill="#fff"/>`,
    `<rect width="${width}" height="${terminalHeight}" rx="8" fill="${colors.paper}"/>`,
    `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${size}">`,
    ...lines.map(drawLine),
    "</g>",
    `${curves.trim()}\n</svg>\n`,
  ].join("\n"),
);
