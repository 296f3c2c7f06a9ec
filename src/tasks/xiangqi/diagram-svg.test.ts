import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { playRandomGame } from "../../../tests/xiangqi-positions.ts";
import { arrowColors, gridPoint } from "./diagram.ts";
import { diagramSvg } from "./diagram-svg.ts";
import { parseCoordinates } from "./notation/coordinates.ts";
import { parseFen } from "./rules/fen.ts";
import type { Position } from "./rules/position.ts";
import { BLACK, RED, variants, xiangqi } from "./rules/variant.ts";

const start = (): Position => parseFen(xiangqi.start).position;

interface Node {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly parent: Node | null;
  text: string;
}

/** The elements of a document of elements, attributes and text; throws when it is not well-formed. */
function parseXml(xml: string): Node[] {
  const nodes: Node[] = [];
  let [open, at]: [Node | null, number] = [null, 0];
  const token = /<\/([a-z]+)>|<([a-z]+)((?: [a-zA-Z:-]+="[^"<]*")*)(\/?)>|[^<>]+/y;
  const text = (raw: string): string => {
    if (/&(?!(?:amp|lt|gt|quot);)/.test(raw)) throw new Error(`entity in ${raw}`);
    // Char of the XML 1.0 specification, section 2.2.
    if (!/^[\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]*$/u.test(raw)) {
      throw new Error(`character in ${raw}`);
    }
    return raw
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&quot;", '"')
      .replaceAll("&amp;", "&");
  };
  while (at < xml.length) {
    token.lastIndex = at;
    const match = token.exec(xml);
    if (match === null) throw new Error(`not well-formed: ${xml.slice(at, at + 60)}`);
    at = token.lastIndex;
    const [whole, closes, opens, attributes = "", isEmpty] = match;
    if (closes !== undefined) {
      if (open?.name !== closes) throw new Error(`</${closes}> in ${open?.name}`);
      open = open.parent;
    } else if (opens === undefined) {
      if (open === null && whole.trim() !== "") throw new Error("text outside");
      if (open !== null) open.text += text(whole);
    } else {
      if (open === null && nodes.length > 0) throw new Error("a second root");
      const pairs = [...attributes.matchAll(/ ([^=]+)="([^"]*)"/g)].map(
        ([, name, value]) => [name!, text(value!)] as const,
      );
      if (new Map(pairs).size < pairs.length) throw new Error("an attribute twice");
      const node: Node = { name: opens, attributes: new Map(pairs), parent: open, text: "" };
      nodes.push(node);
      if (isEmpty === "") open = node;
    }
  }
  if (open !== null) throw new Error(`unclosed ${open.name}`);
  return nodes;
}

const ofClass = (nodes: readonly Node[], name: string): Node[] =>
  nodes.filter((node) => node.attributes.get("class") === name);
/** Elements of a name right inside of one. */
const inside = (nodes: readonly Node[], parent: Node, name: string): Node[] =>
  nodes.filter((node) => node.parent === parent && node.name === name);

const glyphs = { latin: " KABNRCP", chinese: " 帥仕相傌俥炮兵 將士象馬車砲卒" } as const;

describe("an SVG diagram", () => {
  it.each([variants.xiangqi, variants.minixiangqi])(
    "is well-formed and has every piece in its place: $name",
    (variant) => {
      playRandomGame(
        randomStream("svg", variant.name),
        15,
        (position, legal) => {
          for (const view of [RED, BLACK] as const) {
            for (const pieces of ["latin", "chinese"] as const) {
              const arrows = legal
                .slice(0, 3)
                .map((move, index) => ({ move, color: arrowColors[index]! }));
              const nodes = parseXml(diagramSvg(position, { view, pieces, arrows }));
              expect(ofClass(nodes, "arrow")).toHaveLength(arrows.length);
              const found = ofClass(nodes, "piece").map((node) => {
                const [label] = inside(nodes, node, "text");
                const disc = inside(nodes, node, "circle")[1]!;
                return [
                  label!.text,
                  Number(disc.attributes.get("cx")),
                  Number(disc.attributes.get("cy")),
                ];
              });
              const expected = Array.from(position.board.entries())
                .filter(([, piece]) => piece !== 0)
                .map(([square, piece]) => {
                  const { column, row } = gridPoint(square, variant, view);
                  const letter = glyphs[pieces][pieces === "latin" ? piece & 7 : piece];
                  return [letter, 66 + column * 64, 66 + row * 64];
                });
              expect(found).toEqual(expected);
            }
          }
        },
        variant,
      );
    },
  );

  it("has labels at all edges, the FEN as its title, and a caption in lines", () => {
    const caption = `<b>"Fish" & 'chips'</b> ${"after the move ".repeat(5)}`;
    const nodes = parseXml(diagramSvg(start(), { caption }));
    expect(nodes[1]!.text).toBe(xiangqi.start);
    const [labels] = ofClass(nodes, "labels");
    expect(
      inside(nodes, labels!, "text")
        .map((node) => node.text)
        .join(""),
    ).toBe("aabbccddeeffgghhii99887766554433221100");
    const lines = ofClass(nodes, "caption").map((node) => node.text);
    expect(lines.length).toBeGreaterThan(1);
    expect(lines.join(" ")).toBe(caption.trim());
    const plain = parseXml(diagramSvg(start()));
    const heights = [plain, nodes].map(([root]) => Number(root!.attributes.get("height")));
    expect(heights[1]).toBe(heights[0]! + lines.length * 28 + 16);
  });

  it("marks the last move, and leaves marks of the board out when told", () => {
    const lastMove = parseCoordinates("h2e2")!;
    expect(ofClass(parseXml(diagramSvg(start())), "last-move")).toHaveLength(0);
    const nodes = parseXml(diagramSvg(start(), { lastMove }));
    expect(ofClass(nodes, "last-move")).toHaveLength(1);
    const paths = (hasMarks: boolean): number =>
      parseXml(diagramSvg(start(), { hasMarks })).filter((node) => node.name === "path").length;
    expect(paths(true)).toBe(paths(false) + 1);
  });

  it("is well-formed whatever the caption", () => {
    const strings = fc.string({ unit: "binary" });
    const halves = fc
      .array(fc.integer({ min: 0, max: 0xffff }))
      .map((codes) => String.fromCharCode(...codes));
    fc.assert(
      fc.property(fc.oneof(strings, halves), (caption) => {
        const position = parseFen("3k5/9/9/9/9/9/9/9/4A4/4K4").position;
        expect(() => parseXml(diagramSvg(position, { caption }))).not.toThrow();
      }),
      { numRuns: 100 },
    );
  });
});
