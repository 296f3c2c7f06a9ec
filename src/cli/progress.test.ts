import { describe, expect, it } from "vitest";
import { formatDuration, wrapText } from "./output.ts";
import { TerminalProgress } from "./progress.ts";

function make(isTTY: boolean) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const stream = { write: (text: string) => written.push(text), isTTY, columns: 80 };
  return { progress: new TerminalProgress(stream, () => clock.ms), written, clock };
}

describe("TerminalProgress", () => {
  it("writes plain lines now and then where nothing can be redrawn", () => {
    const { progress, written, clock } = make(false);
    progress.begin("sft", 100);
    for (let step = 1; step <= 100; step++) {
      clock.ms += 1000;
      progress.advance(step, `loss ${step}`);
    }
    progress.end();
    expect(written).toHaveLength(11);
    expect(written[0]).toBe("sft           10/100  1:30 left  loss 10\n");
    expect(written.at(-1)).toBe("sft           100/100  1:40 taken  loss 100\n");
  });

  it("redraws one line in a terminal and never passes its width", () => {
    const { progress, written, clock } = make(true);
    progress.begin("grpo", 4);
    for (let step = 1; step <= 4; step++) {
      clock.ms += 500;
      progress.advance(step, "reward ".repeat(20));
    }
    progress.line("a result");
    progress.end();
    const lines = written.map((text) => text.replace("\r\u001B[2K", ""));
    expect(written.every((text) => text.startsWith("\r\u001B[2K"))).toBe(true);
    expect(lines.every((line) => line.trimEnd().length < 80)).toBe(true);
    expect(lines[2]).toMatch(/^grpo +━{12}╌{12} {2}2\/4 {2}0:01 left {2}reward/);
    expect(lines).toContain("a result\n");
    expect(lines.at(-1)).toMatch(/4\/4 {2}0:02 taken/);
  });

  it("judges the time left from where a resumed phase began", () => {
    const { progress, written, clock } = make(true);
    progress.begin("sft", 200);
    for (const step of [101, 102]) {
      clock.ms += 1000;
      progress.advance(step);
    }
    expect(written.at(-1)).toContain("102/200  1:38 left");
    progress.end();
    progress.advance(3); // after the end: nothing to show
    expect(written.at(-1)).toMatch(/102\/200\n$/);
  });
});

describe("text", () => {
  it("formats durations and wraps", () => {
    expect([7000, 750_000, 3_723_000].map(formatDuration)).toEqual(["0:07", "12:30", "1:02:03"]);
    expect(wrapText("one two three", 9, "  ")).toBe("  one two\n  three");
  });
});
