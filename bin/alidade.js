#!/usr/bin/env node
import { existsSync } from "node:fs";

// A reader that stops early (`alidade list | head -1`) is no error.
process.stdout.on("error", (error) => process.exit(error.code === "EPIPE" ? 0 : 1));

const main = new URL("../dist/cli/main.js", import.meta.url);
if (existsSync(main)) {
  const { main: run } = await import(main.href);
  const code = await run(process.argv.slice(2));
  // Everything is written; whatever is still open (a worker, a session) must not hold the process.
  process.stdout.write("", () => process.exit(code));
} else {
  console.error("alidade: expected compiled code in dist/, got none (run: npm run build)");
  process.exitCode = 1;
}
