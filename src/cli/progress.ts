// Shows how far work is, on standard error: one line that is redrawn in a terminal, plain lines elsewhere.

import type { Progress } from "../core/progress.ts";
import { formatDuration, type TextStream } from "./output.ts";

interface Phase {
  readonly label: string;
  readonly total: number;
  readonly startMs: number;
  /** First report: the time left is judged from here on, since a resumed phase does not begin at zero. */
  first: { readonly done: number; readonly timeMs: number } | null;
  done: number;
  note: string;
}

const redrawMs = 100;
const plainMs = 10_000;
const plainShare = 0.1;
/** Plain lines are never closer than this. */
const plainPauseMs = 2000;
const barWidth = 24;

export class TerminalProgress implements Progress {
  readonly #stream: TextStream;
  readonly #now: () => number;
  #phase: Phase | null = null;
  #shownMs = -Infinity;
  #shownShare = 0;

  constructor(stream: TextStream, now: () => number) {
    this.#stream = stream;
    this.#now = now;
  }

  begin(label: string, total: number): void {
    this.end();
    const startMs = this.#now();
    this.#phase = { label, total, startMs, first: null, done: 0, note: "" };
    this.#shownShare = 0;
    this.#shownMs = this.#stream.isTTY === true ? -Infinity : startMs;
    this.#show(false);
  }

  advance(done: number, note?: string): void {
    const phase = this.#phase;
    if (phase === null) return;
    phase.done = done;
    if (note !== undefined) phase.note = note;
    phase.first ??= { done, timeMs: this.#now() };
    this.#show(false);
  }

  end(): void {
    if (this.#phase === null) return;
    this.#show(true);
    this.#phase = null;
  }

  line(text: string): void {
    this.#stream.write(`${this.#stream.isTTY === true ? "\r\u001B[2K" : ""}${text}\n`);
    this.#shownMs = this.#stream.isTTY === true ? -Infinity : this.#shownMs;
    this.#show(false);
  }

  #show(isLast: boolean): void {
    const phase = this.#phase;
    if (phase === null) return;
    const sinceMs = this.#now() - this.#shownMs;
    const share = Math.min(1, phase.done / Math.max(1, phase.total));
    if (this.#stream.isTTY === true) {
      if (!isLast && sinceMs < redrawMs) return;
      const line = this.#line(phase, share, isLast).slice(0, (this.#stream.columns ?? 100) - 1);
      this.#stream.write(`\r\u001B[2K${line}${isLast ? "\n" : ""}`);
    } else {
      const isBigStep = share - this.#shownShare >= plainShare && sinceMs >= plainPauseMs;
      if (!isLast && !isBigStep && sinceMs < plainMs) return;
      this.#stream.write(`${this.#line(phase, share, isLast)}\n`);
    }
    this.#shownMs = this.#now();
    this.#shownShare = share;
  }

  #line(phase: Phase, share: number, isLast: boolean): string {
    const filled = Math.round(share * barWidth);
    const bar = `${"━".repeat(filled)}${"╌".repeat(barWidth - filled)}`;
    const time = isLast ? this.#timeTaken(phase) : this.#timeLeft(phase);
    return [
      phase.label.padEnd(12),
      ...(this.#stream.isTTY === true ? [bar] : []),
      `${phase.done}/${phase.total}`,
      ...(time === "" ? [] : [time]),
      ...(phase.note === "" ? [] : [phase.note]),
    ].join("  ");
  }

  /** Of a whole phase; one that ends early (an evaluation comes between) goes on later. */
  #timeTaken({ startMs, done, total }: Phase): string {
    return done < total ? "" : `${formatDuration(this.#now() - startMs)} taken`;
  }

  #timeLeft({ first, done, total }: Phase): string {
    if (first === null || done <= first.done) return "";
    const perUnitMs = (this.#now() - first.timeMs) / (done - first.done);
    return `${formatDuration((total - done) * perUnitMs)} left`;
  }
}
