import { PassThrough } from "node:stream";
import { describe, expect, it, vi } from "vitest";
import { LineInput } from "./line-input.ts";

/** A reader of a stream, in a terminal or not, with what it showed and how often it was interrupted. */
function open(isTTY: boolean) {
  const input = Object.assign(new PassThrough(), { isTTY });
  const output = Object.assign(new PassThrough(), { isTTY });
  let shown = "";
  output.on("data", (text: Buffer) => (shown += text.toString()));
  const onInterrupt = vi.fn<() => void>();
  const complete = () => ["hint", "h2e2", "help"];
  const lines = new LineInput({ input, output, onInterrupt, complete });
  return { input, lines, onInterrupt, shown: () => shown };
}

describe("lines that are piped in", () => {
  it("come in order, also before they are asked for, and are shown", async () => {
    const { input, lines, shown } = open(false);
    input.write("a\nb\r\n炮二");
    expect(await lines.next("> ")).toBe("a");
    expect(await lines.next("> ")).toBe("b");
    const last = lines.next("> ");
    input.end("平五");
    expect(await last).toBe("炮二平五");
    expect(await lines.next("> ")).toBeNull();
    expect(await lines.next("> ")).toBeNull();
    expect(shown()).toBe("> a\n> b\n> 炮二平五\n> \n> \n");
  });

  it("end when the reader is closed, or the stream fails", async () => {
    const closed = open(false);
    const next = closed.lines.next("> ");
    closed.lines.close();
    expect(await next).toBeNull();
    const failed = open(false);
    const other = failed.lines.next("> ");
    failed.input.destroy(new Error("the terminal is gone"));
    expect(await other).toBeNull();
  });
});

describe("keys of a terminal", () => {
  it("edit the line, complete it and bring it back", async () => {
    const { input, lines, onInterrupt, shown } = open(true);
    const press = async (...keys: readonly string[]): Promise<string | null> => {
      const line = lines.next("> ");
      // In one piece they would be pasted text, which is not completed.
      for (const key of keys) {
        input.write(key);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return line;
    };
    expect(await press("x", "\u007F", "H", "2", "\t", "\r")).toBe("h2e2");
    expect(await press("\u001B[A", "\r")).toBe("h2e2");
    expect(shown()).toContain("> ");
    expect(onInterrupt).not.toHaveBeenCalled();
    const last = lines.next("> ");
    input.write("\u0003");
    await vi.waitFor(() => expect(onInterrupt).toHaveBeenCalledTimes(1));
    lines.close();
    expect(await last).toBeNull();
  });
});
