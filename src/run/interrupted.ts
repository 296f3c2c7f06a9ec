/** A run stopped because it was asked to (Ctrl-C); its checkpoint is written and it can be resumed. */
export class Interrupted extends Error {
  readonly runPath: string;

  constructor(runPath: string) {
    super(`${runPath}: interrupted; continue it with: alidade resume ${runPath}`);
    this.name = "Interrupted";
    this.runPath = runPath;
  }
}
