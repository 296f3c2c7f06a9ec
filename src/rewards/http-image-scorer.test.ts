import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { decodePng } from "../image/png.ts";
import { blankRaster, type Raster, rasterBytes } from "../image/raster.ts";
import { httpImageScorer } from "./http-image-scorer.ts";

interface Request {
  readonly prompts: readonly string[];
  readonly metadatas: readonly unknown[];
  readonly images: readonly string[];
}

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A local server; `answer` returns what it replies, or a status. */
async function serve(answer: (request: Request) => unknown): Promise<string> {
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const reply = answer(JSON.parse(Buffer.concat(parts).toString()) as Request);
      if (reply === undefined) return; // never answers
      if (reply === "hangs up") request.socket.destroy();
      else if (reply === "begins") response.writeHead(200).write('{"scores": '); // and never ends
      else if (typeof reply === "number") response.writeHead(reply).end("busy");
      else response.end(typeof reply === "string" ? reply : JSON.stringify(reply));
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/score`;
}

interface Item {
  readonly prompt: string;
}
const scorerAt = (url: string, batch = 4, abstains: Readonly<Record<string, number>> = {}) =>
  httpImageScorer<Item, null>({
    url,
    scores: { red: "mean of red", odd: "abstains for even prompts" },
    batch,
    abstains,
    describe: ({ prompt }) => ({ prompt, metadata: { tag: prompt } }),
  });

const image = (value: number): Raster => blankRaster(2, 3, [value, 0, -1]);
const ask = (url: string, count: number, signal = new AbortController().signal, batch = 4) => {
  const scorer = scorerAt(url, batch);
  return Promise.allSettled(
    Array.from({ length: count }, async (_, index) =>
      scorer.score({ prompt: String(index) }, image(index / 10), null, signal),
    ),
  );
};

describe("the HTTP scorer", () => {
  it("sends images that are asked about together in one request, and keeps their order", async () => {
    const requests: Request[] = [];
    const url = await serve((request) => {
      requests.push(request);
      const bytes = request.images.map((png) =>
        rasterBytes(decodePng(Buffer.from(png, "base64"), "image")),
      );
      const odd = request.prompts.map((prompt) => (Number(prompt) % 2 === 1 ? 1 : null));
      return { scores: { red: bytes.map((one) => one[0]!), odd, more: [] } };
    });
    const answers = await ask(url, 10);
    expect(requests.map(({ prompts }) => prompts.length).sort((a, b) => a - b)).toEqual([2, 4, 4]);
    expect(requests[0]!.metadatas[0]).toEqual({ tag: requests[0]!.prompts[0] });
    expect(answers).toEqual(
      Array.from({ length: 10 }, (_, index) => ({
        status: "fulfilled",
        value: { red: rasterBytes(image(index / 10))[0], odd: index % 2 === 1 ? 1 : null },
      })),
    );
  });

  it.each([
    ["a status", 503, /expected status 200, got status 503: "busy"$/],
    ["no JSON", "hm", /expected JSON, got "hm"$/],
    ["an error", { error: "no GPU" }, /got \{"error":"no GPU"\}$/],
    ["a missing name", { scores: { red: [1] } }, /expected 1 scores odd, got only red$/],
    ["too few", { scores: { red: [], odd: [1] } }, /expected 1 scores red, got 0$/],
    ["too many", { scores: { red: [1, 1], odd: [1] } }, /expected 1 scores red, got 2$/],
    ["no number", { scores: { red: ["1"], odd: [1] } }, /expected \{"scores"/],
    ["NaN", '{"scores": {"red": [NaN], "odd": [1]}}', /expected JSON, got "\{/],
    ["an infinity", '{"scores": {"red": [1e999], "odd": [1]}}', /expected \{"scores"/],
    ["no list", { scores: { red: 1, odd: 1 } }, /expected \{"scores"/],
    ["a page", "<html>502 Bad Gateway</html>", /expected JSON, got "<html>/],
    ["nothing", "", /expected JSON, got ""$/],
    ["an error beside scores", { scores: { red: [0], odd: [0] }, error: "no GPU" }, /\{"scores"/],
  ])("fails, and gives no 0, for %s", async (_name, reply, message) => {
    const url = await serve(() => reply);
    const [answer] = await ask(url, 1);
    expect(answer!.status).toBe("rejected");
    const { message: said } = (answer as PromiseRejectedResult).reason as Error;
    expect(said).toMatch(message);
    expect(said).toContain(`scorer ${url}: `);
  });

  it("fails one request without the others", async () => {
    let requests = 0;
    const url = await serve(({ prompts }) =>
      requests++ === 0 ? 500 : { scores: { red: prompts.map(Number), odd: prompts.map(() => 0) } },
    );
    const answers = await ask(url, 4, undefined, 2);
    const outcomes = answers.map(({ status }) => status);
    expect(outcomes.filter((one) => one === "rejected").length).toBe(2);
    expect(outcomes[0]).toBe(outcomes[1]);
    expect(outcomes[2]).toBe(outcomes[3]);
  });

  it.each(["never answers", "begins"])(
    "gives up a request that nobody waits for: %s",
    async (mode) => {
      const url = await serve(() => (mode === "begins" ? mode : undefined));
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 50);
      const [answer] = await ask(url, 1, abort.signal);
      expect(answer!.status).toBe("rejected");
    },
  );

  it("fails where there is no server, and where it hangs up", async () => {
    const [hungUp] = await ask(await serve(() => "hangs up"), 1);
    expect(hungUp!.status).toBe("rejected");
    const [none] = await ask("http://127.0.0.1:9/none", 1);
    expect(none!.status).toBe("rejected");
  });

  it("knows the number by which a server abstains, in the lists that have one", async () => {
    const url = await serve(({ prompts }) => ({
      scores: { red: prompts.map(() => -10), odd: prompts.map((one) => (one === "0" ? -10 : 1)) },
    }));
    const scorer = scorerAt(url, 4, { odd: -10 });
    const signal = new AbortController().signal;
    const answers = ["0", "1"].map(async (prompt) =>
      scorer.score({ prompt }, image(0), null, signal),
    );
    expect(await Promise.all(answers)).toEqual([
      { red: -10, odd: null },
      { red: -10, odd: 1 },
    ]);
    expect(() => scorerAt(url, 4, { even: -10 })).toThrow(/expected a known score, got "even"/);
    expect(() => scorerAt(url, 0)).toThrow(/expected batch >= 1, got 0/);
  });
});
