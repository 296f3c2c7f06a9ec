import type { Reporter, TestModule } from "vitest/node";

/** Prints `N passed, N failed` as the last line, for people and programs that read only that. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state === "pending" ? "failed" : state] += 1;
      }
      // A file that does not load, or whose hook fails, may hold no failed test of its own.
      const hasFailedTest = [...module.children.allTests("failed")].length > 0;
      if (module.state() === "failed" && !hasFailedTest) counts.failed += 1;
    }
    counts.failed += errors.length;
    const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
    // After the default reporter's own summary, which is written in the same turn.
    process.once("exit", () => {
      process.stdout.write(`${counts.passed} passed, ${counts.failed} failed${skipped}\n`);
    });
  }
}
