import { EventEmitter } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { scriptedProgram } from "../../../tests/scripted-xiangqi-engine.ts";
import { EngineError } from "../../core/errors.ts";
import type { Choice } from "../../systems/xiangqi-r1/player.ts";
import { xiangqiConfig } from "../../tasks/xiangqi/config.ts";
import { readPgn } from "../../tasks/xiangqi/files/pgn.ts";
import { formatCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatFen } from "../../tasks/xiangqi/rules/fen.ts";
import type { Position } from "../../tasks/xiangqi/rules/position.ts";
import { minixiangqi, variants, xiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { judge } from "../../tasks/xiangqi/task.ts";
import { main } from "../main.ts";
import type { FindTrainedModel } from "./opponent.ts";
import type { PlayContext } from "./play.ts";

let root: string;
let file: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-play-"));
  file = join(root, "game.pgn");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Plays with these lines typed, or with a stream; `signals` and `killed` are those of Ctrl-C. */
async function play(
  typed: readonly string[] | Readable,
  options: readonly string[],
  world: Partial<PlayContext> = {},
) {
  let [stdout, stderr] = ["", ""];
  const signals = new EventEmitter();
  const killed: number[] = [];
  const input = typed instanceof Readable ? typed : Readable.from(typed.map((line) => `${line}\n`));
  const context: Partial<PlayContext> = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    signals,
    kill: (code) => void killed.push(code),
    input,
    ...world,
  };
  const running = main(["xiangqi", "play", ...options], context).then((code) => ({
    code,
    stdout,
    stderr,
    killed,
    json: () => JSON.parse(stdout) as Record<string, unknown>,
  }));
  return { running, signals, shown: () => stdout };
}

const played = async (...parameters: Parameters<typeof play>) =>
  (await play(...parameters)).running;

/** A model that writes as a test tells it: the texts of one move after the other. */
class ScriptedModel {
  readonly draws: number[] = [];
  opened = 0;
  disposed = 0;
  readonly #script: (readonly string[])[];
  readonly #variant: "xiangqi" | "minixiangqi";

  constructor(script: readonly (readonly string[])[], variant: "xiangqi" | "minixiangqi") {
    this.#script = [...script];
    this.#variant = variant;
  }

  #choose(position: Position): Choice {
    const config = xiangqiConfig.parse({ variant: this.#variant });
    const item = { fen: formatFen(position), ply: 0, phase: "opening", winner: "unknown" } as const;
    const texts = this.#script.shift();
    if (texts === undefined) throw new EngineError("the script has ended");
    const attempts = texts.map((text) => ({ text, judgement: judge(item, text, config) }));
    const legal = attempts.find(({ judgement }) => judgement.isLegal);
    return { move: legal?.judgement.move ?? null, attempts };
  }

  readonly findTrained: FindTrainedModel = () => ({
    variant: variants[this.#variant],
    open: async () => {
      this.opened++;
      return {
        player: {
          name: "scripted model",
          choose: async (turns, random) =>
            turns.map(({ position }, index) => {
              this.draws.push(random(index).uniform());
              return this.#choose(position);
            }),
        },
        dispose: () => void this.disposed++,
      };
    },
  });
}

const model = (
  script: readonly (readonly string[])[],
  variant: "xiangqi" | "minixiangqi" = "minixiangqi",
): ScriptedModel => new ScriptedModel(script, variant);

const says = (move: string): string => `<answer>Move: ${move}</answer>`;

function savedGame() {
  const { games, faults } = readPgn(readFileSync(file));
  expect(faults).toEqual([]);
  expect(games.length).toBe(1);
  return games[0]!;
}

const search = ["--opponent", "search", "--depth", "1"];
/** After a6a8 Black has one move, i0h0, and b1b9 mates. */
const mateInTwo = "3k5/9/9/R8/9/9/9/9/1R7/4K3p w - - 0 1";

describe("a game against the search", () => {
  it("is played to mate and saved", async () => {
    const options = [...search, "--fen", mateInTwo, "--save", file, "--notation", "wxf"];
    const { code, stdout, stderr } = await played(["a6a8", "车八进八"], options);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toContain("You play Red against search at depth 1.");
    expect(stdout).toContain("Black plays P9=8 (soldier).");
    expect(stdout).toContain("[p|.]");
    // The last board has the mate on it.
    expect(stdout).toMatch(
      /9 {2}\.\[R\]\. k[\s\S]*Black to move\n {3}check\n\nYou win \(1-0\): checkmate\.\n/,
    );
    expect(stdout).toContain(`saved ${file}`);
    const game = savedGame();
    expect(game).toMatchObject({ result: "red", start: mateInTwo, comments: { 3: "checkmate" } });
    expect(game.tags).toMatchObject({ Red: "a person", Black: "search at depth 1" });
    expect(game.tags["Date"]).toMatch(/^\d{4}\.\d\d\.\d\d$/);
    expect(game.moves.map((move) => formatCoordinates(move))).toEqual(["a6a8", "i0h0", "b1b9"]);
  });

  it("goes on after what is no legal move", async () => {
    const typed = ["h2e3", "", "  ", "resing", "constructor", "h2e2"];
    const { code, stdout } = await played(typed, search);
    expect(code).toBe(0);
    expect(stdout).toContain("h2e3 is not legal: your own soldier stands on e3.\n");
    expect(stdout).toContain('"resing" is neither a move nor a command (did you mean resign?).');
    expect(stdout).toContain('"constructor" is neither a move nor a command (help lists');
    expect(stdout).toMatch(/Red> h2e2\nBlack plays /);
  });

  it("takes moves back", async () => {
    const typed = ["undo", "h2e2", "undo", "c3c4", "resign"];
    const { stdout, stderr, json } = await played(typed, [...search, "--json"]);
    expect(stderr).toContain("You have made no move yet.");
    expect(json()["moves"]).toMatchObject([{ move: "c3c4" }, { side: "black" }]);
    expect(stdout).not.toContain("h2e2");
  });

  it("is shown from Black's side, the opponent moving first", async () => {
    const { stdout } = await played(["flip", "undo"], [...search, "--side", "black"]);
    expect(stdout).toMatch(/^You play Black against search at depth 1\.\nRed plays /);
    const boards = [...stdout.matchAll(/^ {3}([a-i ]{17})\n[09] {2}/gm)].map(([, files]) => files);
    expect(boards).toEqual(["i h g f e d c b a", "a b c d e f g h i"]);
    expect(stdout).toContain("Black> undo\nYou have made no move yet.");
  });

  it("tells what can be typed, the legal moves and a hint", async () => {
    const options = [...search, "--fen", mateInTwo, "--notation", "chinese", "--pieces", "chinese"];
    const { stdout } = await played(["help", "moves", "a6a8", "hint", "board"], options);
    expect(stdout).toMatch(/for example \w\d\w\d, \w\d-\w\d, \S{4}, \S{4}; help lists/);
    expect(stdout).toMatch(/^ {2}resign {2}gives the game up$/m);
    expect(stdout).toMatch(/^ {2}general e0 {2}帅五/m);
    expect(stdout).toMatch(/^ {2}车八\S\S \(chariot\): mate at depth 1$/m);
    expect(stdout).toContain("俥");
    expect(stdout.match(/Black plays 卒9平8/g)).toHaveLength(1);
    expect(stdout.match(/\[卒\|＋\]/g)).toHaveLength(2);
  });

  it("can be lost by resignation", async () => {
    const options = [...search, "--json", "--save", file];
    const { code, stderr, json } = await played(["h2e2", "resign", "h0g2"], options);
    expect(code).toBe(0);
    expect(stderr).toContain("You lose (0-1): resignation by Red.");
    expect(json()).toMatchObject({ result: "0-1", winner: "black", reason: "resignation" });
    expect(savedGame()).toMatchObject({ result: "black", comments: { 2: "Red: resignation" } });
  });

  it.each([["the end of input", []] as const, ["quit", ["quit", "h0g2"]] as const])(
    "is left unfinished at %s",
    async (_name, last) => {
      const options = [...search, "--json", "--save", file];
      const { code, stdout, stderr, json } = await played(["h2e2", ...last], options);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^\{[\s\S]*\}\n$/);
      expect(stderr).toContain("The game is unfinished (*).");
      const { moves, fen, ...rest } = json();
      expect(rest).toMatchObject({ result: "*", winner: null, reason: null, answers: [] });
      expect(rest).toMatchObject({ variant: "xiangqi", start: xiangqi.start, saved: file });
      expect(moves).toMatchObject([{ ply: 1, side: "red", move: "h2e2" }, { ply: 2 }]);
      expect(fen).toMatch(/ w - - \d 2$/);
      const game = savedGame();
      expect(game.result).toBe("unknown");
      expect(game.moves.length).toBe(2);
    },
  );

  it("is over at once where it begins with a mate", async () => {
    const fen = "1R1k5/R8/9/9/9/9/9/9/9/4K3p b";
    const { code, stdout } = await played(["h2e2"], [...search, "--fen", fen]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/You win \(1-0\): checkmate\.\n$/);
  });

  it("ends with Ctrl-C, saved", async () => {
    const input = new PassThrough();
    const { running, signals, shown } = await play(input, [...search, "--save", file]);
    input.write("h2e2\n");
    await vi.waitFor(() => expect(shown()).toMatch(/Black plays[\s\S]*Red> $/));
    signals.emit("SIGINT");
    const { killed } = await running;
    expect(killed).toEqual([130]);
    expect(savedGame()).toMatchObject({ result: "unknown" });
    expect(signals.listenerCount("SIGINT") + signals.listenerCount("SIGTERM")).toBe(0);
  });
});

describe("a game against a model", () => {
  const thought =
    "<think>Material: 0\nCheck: no</think><answer>Situation: Balanced\nMove: b6b5</answer>";
  const dir = ["--opponent", "runs/some"];

  it("tells what it wrote", async () => {
    const scripted = model([["no idea", says("a0a3"), thought], [says("b5b6")]]);
    const options = [...dir, "--json", "--notation", "iccs", "--save", file];
    const { stderr, json } = await played(["b0b1", "b1b0"], options, scripted);
    expect(stderr).toContain(
      "Black plays B6-B5 (cannon).\n  3 answers; situation Balanced; thinking: Material: 0 / Check: no\n",
    );
    expect(stderr).toContain("Black plays B5-B6 (cannon).\n  1 answer\n");
    expect(json()).toMatchObject({
      variant: "minixiangqi",
      opponent: "scripted model",
      side: "red",
      seed: 1,
      moves: [{ text: "B0-B1" }, { text: "B6-B5" }, { text: "B1-B0" }, { text: "B5-B6" }],
      answers: [
        {
          ply: 2,
          attempts: [
            { text: "no idea", move: null, isLegal: false },
            { move: "a0a3", isLegal: false },
            { text: thought, move: "b6b5", isLegal: true, situation: "Balanced" },
          ],
        },
        { ply: 4, attempts: [{ text: says("b5b6") }] },
      ],
    });
    const { variant, comments } = savedGame();
    expect(variant).toBe("minixiangqi");
    expect(comments[2]).toContain("3 answers; situation Balanced");
    expect(scripted.disposed).toBe(1);
  });

  it("is won when no answer has a legal move", async () => {
    const scripted = model([[says("a0a3"), "\u001B[2Jnothing", says("a0a3")]]);
    const options = [...dir, "--save", file];
    const { code, stdout } = await played(["b0b1"], options, scripted);
    expect(code).toBe(0);
    expect(stdout).toContain(
      `Black resigns: no legal move in 3 answers. It wrote:\n  2 x ${says("a0a3")} (a0a3)\n`,
    );
    expect(stdout).toContain(
      "  1 x \uFFFD[2Jnothing (no move)\nYou win (1-0): resignation by Black.",
    );
    expect(savedGame()).toMatchObject({ result: "red", comments: { 1: "Black: resignation" } });
  });

  it("forgets answers that were taken back", async () => {
    const scripted = model([[says("b6b5")], [says("b6b4")]]);
    const options = [...dir, "--json"];
    const { json } = await played(["b0b1", "undo", "b0b2"], options, scripted);
    expect(json()["answers"]).toMatchObject([{ ply: 2, attempts: [{ move: "b6b4" }] }]);
  });

  it("draws by repetition under the simple rules", async () => {
    const script = ["b6b5", "b5b6", "b6b5", "b5b6"].map((move) => [says(move)]);
    const typed = ["b0b1", "b1b0", "b0b1", "b1b0"];
    const options = [...dir, "--rules", "simple", "--save", file];
    const { stdout } = await played(typed, options, model(script));
    expect(stdout).toMatch(/A draw \(1\/2-1\/2\): repetition\.\n/);
    expect(savedGame().result).toBe("draw");
  });

  it("gives every move a stream of the seed", async () => {
    const draws = async (seed: string): Promise<readonly number[]> => {
      const scripted = model([[says("b6b5")], [says("b5b6")]]);
      await played(["b0b1", "b1b0"], [...dir, "--seed", seed], scripted);
      return scripted.draws;
    };
    const [first, again, other] = [await draws("3"), await draws("3"), await draws("4")];
    expect(again).toEqual(first);
    expect(new Set([...first, ...other]).size).toBe(4);
  });

  it("is saved when the model fails", async () => {
    const scripted = model([[says("b6b5")]]);
    const options = [...dir, "--save", file];
    const { code, stderr } = await played(["b0b1", "b1b0"], options, scripted);
    expect(code).toBe(1);
    expect(stderr).toContain("the script has ended");
    expect(savedGame().moves.length).toBe(3);
    expect(scripted.disposed).toBe(1);
  });

  it("refuses another board than that of the run", async () => {
    const scripted = model([]);
    const options = [...dir, "--variant", "xiangqi"];
    const { code, stderr } = await played([], options, scripted);
    expect(code).toBe(2);
    expect(stderr).toContain("expected --variant minixiangqi, the board of the run, got xiangqi");
    expect(scripted.opened).toBe(0);
  });
});

describe("a game against an engine", () => {
  it("asks the program for moves", async () => {
    const program = scriptedProgram({
      hello: [
        "id name Adam",
        "option name UCI_Variant type combo default xiangqi var xiangqi",
        "uciok",
      ],
      start: xiangqi.start,
      startAnswer: ["info depth 1 score cp 10 pv h2e2", "bestmove h2e2"],
      lives: [{ go: [["info depth 5 score cp 1 pv h9g7", "bestmove h9g7"]] }],
    });
    try {
      const engine = program.command.map((word) => `'${word}'`).join(" ");
      const options = ["--opponent", "engine", "--engine", engine, "--protocol", "uci"];
      const { code, stdout } = await played(["h2e2"], [...options, "--depth", "5"]);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^You play Red against Adam; .*, depth 5\.\n/);
      expect(stdout).toContain("Black plays h9g7 (horse).");
      expect(program.log()).toContain("go depth 5");
      expect(program.log().at(-1)).toBe("quit");
    } finally {
      program.remove();
    }
  });
});

describe("options that cannot be", () => {
  it.each([
    [["--opponent", "engine", "--protocol", "uci"], "got no --engine"],
    [["--opponent", "engine", "--engine", "x"], "got no --protocol"],
    [["--opponent", "engine", "--engine", "'x", "--protocol", "uci"], "expected a closing '"],
    [["--opponent", "search", "--engine", "x"], "expected --opponent engine"],
    [["--opponent", "search", "--depth", "9"], "expected --depth up to 8, got 9"],
    [["--opponent", "no/where"], 'the folder of a run, got "no/where"'],
    [["--opponent", "search", "--save", "no/where.pgn"], "got no such folder"],
  ])("%j", async (options, message) => {
    const { code, stdout, stderr } = await played(["h2e2"], options);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(message);
  });

  it("name a file that exists", async () => {
    writeFileSync(file, "dear");
    const { code, stderr } = await played(["h2e2"], [...search, "--save", file]);
    expect(code).toBe(2);
    expect(stderr).toContain("expected a file that does not exist yet");
    expect(readFileSync(file, "utf8")).toBe("dear");
  });

  it("have a FEN of another board", async () => {
    const options = [...search, "--fen", minixiangqi.start, "--save", file];
    const { code, stderr } = await played([], options);
    expect(code).toBe(1);
    expect(stderr).toContain("expected 10 ranks separated by /, got 7");
    expect(existsSync(file)).toBe(false);
  });

  it("name a model that is none of a run", async () => {
    const folder = join(root, "model");
    mkdirSync(folder);
    writeFileSync(join(folder, "config.json"), "{}");
    const { code, stderr } = await played([], ["--opponent", folder]);
    expect(code).toBe(2);
    expect(stderr).toContain(
      "a run of xiangqi-r1, or its model folder, got a model outside of a run",
    );
  });
});
