/** Where work that takes longer than a few seconds tells how far it is. The command line shows it; tests stay silent. */
export interface Progress {
  /** A phase of `total` units begins; a phase that is still open ends. */
  begin(label: string, total: number): void;
  /** `done` units of the phase so far, with the latest numbers in a few words. */
  advance(done: number, note?: string): void;
  end(): void;
  /** A result that stays on the screen. */
  line(text: string): void;
}

export const silentProgress: Progress = {
  begin: () => undefined,
  advance: () => undefined,
  end: () => undefined,
  line: () => undefined,
};
