// Images are scored like texts: the scorers of a task side by side, a failure apart from a number.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import type { Raster } from "../image/raster.ts";
import { httpImageScorer } from "../rewards/http-image-scorer.ts";
import { genevalMini, type MiniConfig, type MiniItem } from "../tasks/image-generation/index.ts";
import { scoreOutputs, scoringSettings } from "./score-outputs.ts";

it("an external scorer that fails takes no score of the task with it, and is no 0", async () => {
  let requests = 0;
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      requests++;
      if (requests === 1) response.writeHead(500).end();
      else if (requests === 2) response.end('{"scores": {"taste": [0.25, 0.5]}}');
      // The third has no answer.
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const taste = httpImageScorer<MiniItem, MiniConfig>({
    url,
    scores: { taste: "what the other machine thinks" },
    batch: 2,
    describe: ({ record }) => ({ prompt: record.prompt, metadata: record }),
  });
  const config = genevalMini.config.parse({});
  const outputs = genevalMini.items("train", config).slice(0, 6);
  const judged = outputs.map((item, index) => {
    const output: Raster = genevalMini.gold(item, config, randomStream("images", index));
    return { item, output };
  });
  const settings = scoringSettings.parse({ timeoutMs: 300, retries: 0, concurrency: 2 });
  const scored = await scoreOutputs({ ...genevalMini, scorers: [taste] }, config, judged, settings);
  expect(scored.map(({ scores }) => scores["geneval"])).toEqual([1, 1, 1, 1, 1, 1]);
  expect(scored.map(({ scores }) => scores["taste"])).toEqual([
    undefined,
    undefined,
    0.25,
    0.5,
    undefined,
    undefined,
  ]);
  expect(scored.map(({ failures }) => failures["taste"]?.kind)).toEqual([
    "error",
    "error",
    undefined,
    undefined,
    "timeout",
    "timeout",
  ]);
  server.closeAllConnections();
  server.close();
});
