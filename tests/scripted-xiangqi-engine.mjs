// A program that talks like a Xiangqi engine and does what the JSON file says whose path it is given: see scripted-xiangqi-engine.ts.

import { appendFileSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const script = JSON.parse(readFileSync(process.argv[2], "utf8"));
const starts = readFileSync(script.log, "utf8")
  .split("\n")
  .filter((line) => line === "(start)");
appendFileSync(script.log, "(start)\n");
const life = script.lives[Math.min(starts.length, script.lives.length - 1)];
const end = script.lineEnd ?? "\n";
let [position, searches, isDeaf] = ["", 0, false];
let atStop = null;

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

async function say(lines) {
  for (const line of lines) {
    const [, order, text = ""] = /^!(\w+) ?(.*)$/s.exec(line) ?? [];
    if (order === undefined) process.stdout.write(line + end);
    else if (order === "raw") process.stdout.write(text);
    else if (order === "stderr") process.stderr.write(`${text}\n`);
    else if (order === "pause") await pause();
    else if (order === "stop") atStop = text;
    else if (order === "deaf") isDeaf = true;
    else if (order === "exit") process.exit(Number(text));
    else if (order === "die") process.kill(process.pid, "SIGKILL");
    else if (order === "flood") for (;;) process.stdout.write("x".repeat(1 << 16));
    else throw new Error(`no such order: ${order}`);
  }
}

function answer() {
  const known = script.positions?.[position];
  const answers = life.go ?? [];
  const isStart = position === script.start && script.startAnswer !== undefined;
  if (isStart) return script.startAnswer;
  return known ?? answers[Math.min(searches++, answers.length - 1)] ?? [];
}

for await (const line of createInterface({ input: process.stdin })) {
  appendFileSync(script.log, `${line}\n`);
  if (isDeaf) continue;
  const [word, ...rest] = line.split(" ");
  if (word === "uci" || word === "ucci") await say(life.hello ?? script.hello);
  else if (word === "isready") await say(life.ready ?? ["readyok"]);
  else if (word === "position") position = rest.slice(1).join(" ");
  else if (word === "go") await say(answer());
  else if (word === "stop" && atStop !== null) {
    await say([atStop]);
    atStop = null;
  } else if (word === "quit") process.exit(0);
}
// A deaf one also ignores that nobody speaks to it any more.
if (isDeaf) setInterval(() => undefined, 1000);
