import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError, DataError } from "../../../core/errors.ts";
import { wordIds } from "../../../core/image-task.ts";
import { type Random, randomStream } from "../../../core/random.ts";
import { blankRaster, type Raster, type Rgb } from "../../../image/raster.ts";
import { orderlessKey, parseRecord } from "../record.ts";
import { relationsOf } from "../relative-position.ts";
import { tags } from "../vocabulary.ts";
import { borderColor, detectShapes, foregroundOf, structureScore } from "./color-blind-detector.ts";
import { componentsOf } from "./components.ts";
import { miniConfig } from "./config.ts";
import { detect } from "./detector.ts";
import { layoutEntropy, redness } from "./image-metrics.ts";
import { labelledShapes, shapeLabels } from "./labelled-shapes.ts";
import { type MiniItem, miniSuites } from "./prompts.ts";
import { quadrantTask } from "./quadrant.ts";
import { addNoise, drawScene, renderScene, type Scene, SIDE } from "./scene.ts";
import { miniColors, palette, type Shape, shapes, templateOf } from "./shapes.ts";
import { genevalMini } from "./task.ts";

const config = miniConfig.parse({});
const stream = (...key: readonly (string | number)[]): Random => randomStream("mini test", ...key);
const suite = (name: string, of = config) => genevalMini.items(name, of);
const everything: readonly MiniItem[] = miniSuites.flatMap((name) => suite(name));
const scoresOf = (item: MiniItem, image: Raster, of = config) =>
  genevalMini.score(item, image, of, new AbortController().signal) as Readonly<
    Record<string, number>
  >;

describe("the shapes", () => {
  it("fill their box to every side, are connected, and look unlike each other at every size", () => {
    for (const size of [6, 7, 8, 9, 10]) {
      const masks = shapes.map((shape) => templateOf(shape, size, size));
      for (const { mask, area } of masks) {
        const [part, ...more] = componentsOf(mask, size);
        expect(more).toEqual([]);
        expect([part!.pixels.length, part!.box]).toEqual([area, [0, 0, size, size]]);
      }
      for (const [index, { mask, area }] of masks.entries()) {
        for (const other of masks.slice(index + 1)) {
          const both = mask.reduce((sum, bit, at) => sum + (bit & other.mask[at]!), 0);
          expect(both / (area + other.area - both)).toBeLessThan(0.79);
        }
      }
    }
  });

  it("have colours that noise does not mix up", () => {
    const all: readonly Rgb[] = [...miniColors.map((name) => palette[name]), [0, 0, 0]];
    for (const [index, a] of all.entries()) {
      for (const b of all.slice(index + 1)) {
        expect(Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2])).toBeGreaterThan(1.2);
      }
    }
  });
});

describe("the prompts", () => {
  it("are 126 in right records, 20 % of them held out, in every tag", () => {
    const [train, test] = [suite("train"), suite("test")];
    expect(train.length + test.length).toBe(126);
    expect(test.length).toBe(26);
    for (const tag of tags) {
      expect(train.some(({ record }) => record.tag === tag)).toBe(true);
      expect(test.some(({ record }) => record.tag === tag)).toBe(true);
    }
    for (const { record } of everything) expect(parseRecord(record, "x")).toEqual(record);
    expect(new Set(everything.map(({ record }) => record.prompt)).size).toBe(everything.length);
  });

  it("share nothing between suites, also not in the other order", () => {
    const keys = miniSuites.map(
      (name) => new Set(suite(name).map(({ record }) => orderlessKey(record))),
    );
    for (const [index, own] of keys.entries()) {
      for (const other of keys.slice(index + 1))
        expect([...own].every((key) => !other.has(key))).toBe(true);
    }
    const train = suite("train").flatMap(({ record }) => record.include);
    expect(train.some((entry) => entry.class === "cross")).toBe(false);
    expect(Math.max(...train.map(({ count }) => count))).toBe(4);
    expect(suite("unseenCount").map(({ record }) => record.prompt)).toContain(
      "a photo of five circles",
    );
    expect(suite("unseenClass").every(({ record }) => /cross/.test(record.prompt))).toBe(true);
  });

  it("can name colours beside numbers and positions", () => {
    const colored = miniConfig.parse({ coloredPrompts: ["counting", "position"] });
    const prompts = new Set(
      [...suite("train", colored), ...suite("test", colored)].map(({ record }) => record.prompt),
    );
    expect(prompts).toContain("a photo of two red circles");
    expect(prompts).toContain("a photo of a blue square left of a green triangle");
    expect(prompts.size).toBe(126 - 9 - 24 + 36 + 288);
    const counted = miniConfig.parse({ coloredPrompts: ["counting"] });
    expect(suite("train", counted).length + suite("test", counted).length).toBe(126 - 9 + 36);
  });

  it("are drawn for training in the shares 7:5:3:1:1:0, the same for a stream, never one that is held out", () => {
    const draw = (index: number) => genevalMini.make(stream("make", index), config);
    const drawn = Array.from({ length: 3400 }, (_, index) => draw(index));
    const share = (tag: string) => drawn.filter(({ record }) => record.tag === tag).length / 200;
    const shares = [0, 1, 5, 1, 7, 3];
    tags.forEach((tag, index) => expect(Math.abs(share(tag) - shares[index]!)).toBeLessThan(0.7));
    const train = new Set(suite("train").map((item) => genevalMini.key(item)));
    expect(drawn.every((item) => train.has(genevalMini.key(item)))).toBe(true);
    expect(draw(7)).toEqual(drawn[7]);
  });

  it("can be about two classes, whose one pair is held out, and not about one", () => {
    const two = miniConfig.parse({ classes: ["circle", "square"] });
    const drawn = Array.from({ length: 400 }, (_, index) =>
      genevalMini.make(stream("two classes", index), two),
    );
    const drawnTags = new Set(drawn.map(({ record }) => record.tag));
    expect([...drawnTags].sort()).toEqual(["color_attr", "colors", "counting", "position"]);
    const train = new Set(suite("train", two).map((item) => genevalMini.key(item)));
    expect(drawn.every((item) => train.has(genevalMini.key(item)))).toBe(true);
    const one = miniConfig.safeParse({ classes: ["circle", "cross"] });
    expect(one.error?.issues).toMatchObject([
      { path: ["classes"], message: "two classes or more beside unseenClass" },
    ]);
    const other = { classes: ["circle", "cross"], unseenClass: "square" };
    expect(miniConfig.safeParse(other).success).toBe(true);
  });

  it("consist of words that the vocabulary has", () => {
    const words = genevalMini.vocabulary(config);
    for (const item of everything) {
      const ids = wordIds(genevalMini.prompt(item), words);
      expect(ids.map((id) => words[id - 1]).join(" ")).toBe(genevalMini.prompt(item));
    }
    expect(words.length).toBeLessThan(40);
    expect(() => wordIds("a photo of a dragon", words)).toThrow(DataError);
    expect(() => genevalMini.items("tests", config)).toThrow(ConfigError);
  });
});

/** Objects of a scene by class, from its description: no detector. */
function showsRecord({ record }: MiniItem, { objects }: Scene): boolean {
  const of = (name: string) => objects.filter((one) => one.shape === name);
  const box = (one: (typeof objects)[number]) =>
    [one.x, one.y, one.x + one.size, one.y + one.size] as const;
  const asked = record.include.reduce((sum, { count }) => sum + count, 0);
  return (
    objects.length === asked &&
    record.include.every(
      ({ class: name, count, color, position }) =>
        of(name).length === count &&
        of(name).every((one) => color === undefined || one.color === color) &&
        (position === undefined ||
          of(name).every((a) =>
            of(record.include[position[1]]!.class).every((b) =>
              relationsOf(box(a), box(b)).includes(position[0]),
            ),
          )),
    )
  );
}

describe("scenes", () => {
  it.each([1, 2, 4] as const)(
    "show what was asked, apart and inside, at multiples of %i",
    (snap) => {
      for (const [index, item] of everything.entries()) {
        const scene = drawScene(item.record, stream("scene", snap, index), { ...config, snap });
        expect(showsRecord(item, scene)).toBe(true);
        const total = scene.objects.length;
        for (const [at, { x, y, size }] of scene.objects.entries()) {
          expect([x % snap, y % snap]).toEqual([0, 0]);
          expect(Math.min(x, y) >= 0 && Math.max(x, y) + size <= SIDE).toBe(true);
          expect(total <= 2 ? size >= 8 && size <= 10 : size >= 6 && size <= 7).toBe(true);
          for (const other of scene.objects.slice(at + 1)) {
            const gap = Math.max(
              x - other.x - other.size,
              other.x - x - size,
              y - other.y - other.size,
              other.y - y - size,
            );
            expect(gap).toBeGreaterThanOrEqual(1);
          }
        }
        expect(Math.abs(scene.background)).toBeLessThanOrEqual(0.1);
      }
    },
  );

  it("have masks that say where their objects are, and are the same for a stream", () => {
    const item = everything[20]!;
    const draw = () => renderScene(drawScene(item.record, stream("a"), config), 0.05, stream("b"));
    const { image, mask } = draw();
    expect(draw()).toEqual({ image, mask });
    const scene = drawScene(item.record, stream("a"), config);
    const area = scene.objects.reduce(
      (sum, { shape, size }) => sum + templateOf(shape, size, size).area,
      0,
    );
    expect(mask.reduce((sum, bit) => sum + bit, 0)).toBe(area);
  });

  it("without room are an error", () => {
    const record = {
      tag: "counting" as const,
      include: [{ class: "circle", count: 30 }],
      prompt: "30",
    };
    expect(() => drawScene(record, stream("full"), config)).toThrow(/expected room for "30"/);
  });
});

describe("the detector", () => {
  it.each([0.05, 0.08])(
    "with noise of deviation %d is right for at least 99 of 100 true images, in every tag and suite",
    (noise) => {
      const noisy = { ...config, noise };
      for (const name of miniSuites) {
        for (const tag of tags) {
          const items = suite(name).filter(({ record }) => record.tag === tag);
          if (items.length === 0) continue;
          let [right, count] = [0, 0];
          while (count < 200) {
            const random = stream("detector", name, tag, noise, count);
            const item = items[count % items.length]!;
            const scores = scoresOf(item, genevalMini.gold(item, noisy, random));
            right += Number(
              scores["correct"] === 1 && scores["strict"] === 1 && scores["geneval"] === 1,
            );
            count++;
          }
          expect(right / count, `${name} ${tag}`).toBeGreaterThanOrEqual(0.99);
        }
      }
    },
  );

  it("finds shape, colour and box of every object of a scene", () => {
    for (let index = 0; index < 300; index++) {
      const random = stream("objects", index);
      const { record } = random.pick(everything);
      const scene = drawScene(record, random, config);
      const { objects, unknownParts } = detect(renderScene(scene, 0.06, random).image);
      const described = scene.objects.map(({ shape, color, x, y, size }) =>
        JSON.stringify([shape, color, x, y, x + size, y + size]),
      );
      const found = objects.map(({ shape, color, box }) => JSON.stringify([shape, color, ...box]));
      expect(found.sort()).toEqual(described.sort());
      expect(unknownParts).toBe(0);
      for (const { confidence, purity } of objects) {
        expect(confidence).toBe(1);
        expect(purity).toBeGreaterThan(0.8);
      }
    }
  });

  it("counts colours that are none and scraps as unknown parts, not as objects", () => {
    const image = blankRaster(SIDE, SIDE, [0, 0, 0]);
    const paint = (x0: number, y0: number, width: number, height: number, color: Rgb) => {
      for (let y = y0; y < y0 + height; y++) {
        for (let x = x0; x < x0 + width; x++) image.data.set(color, (y * SIDE + x) * 3);
      }
    };
    paint(0, 0, 5, 5, [1, 1, 1]); // white
    paint(10, 0, 2, 2, palette.red); // a speck of 4 pixels
    paint(0, 10, 12, 1, palette.red); // an L: no shape
    paint(0, 10, 1, 12, palette.red);
    expect(detect(image)).toMatchObject({ objects: [], unknownParts: 2 });
    paint(15, 15, 8, 8, palette.blue);
    expect(detect(image).objects).toMatchObject([
      { shape: "square", color: "blue", confidence: 1 },
    ]);
    paint(19, 15, 4, 8, palette.red); // half and half is no colour
    paint(8, 3, 2, 3, palette.red); // a perfect square of 2 by 3 is a scrap
    expect(detect(image)).toMatchObject({ objects: [], unknownParts: 4 });
  });

  it("refuses an image that is not finite: that is a failure, not a low score", () => {
    const image = blankRaster(SIDE, SIDE, [0, 0, 0]);
    image.data[100] = Number.NaN;
    expect(() => scoresOf(everything[0]!, image)).toThrow(DataError);
  });
});

describe("images that show nothing of the prompt", () => {
  const empty = blankRaster(SIDE, SIDE, [0, 0, 0]);
  const noise = (index: number, deviation: number): Raster => {
    const image = blankRaster(SIDE, SIDE, [0, 0, 0]);
    addNoise(image, deviation, stream("noise", index));
    return image;
  };
  const images: readonly (readonly [string, Raster])[] = [
    ["empty", empty],
    ["black", blankRaster(SIDE, SIDE, [-1, -1, -1])],
    ["white", blankRaster(SIDE, SIDE, [1, 1, 1])],
    ...[0.3, 1, 3].flatMap((deviation) =>
      [0, 1, 2, 3].map((index) => [`noise ${deviation}`, noise(index, deviation)] as const),
    ),
  ];

  it.each(images)("score nothing: %s", (_name, image) => {
    for (const item of everything) {
      const scores = scoresOf(item, image);
      expect([scores["correct"], scores["strict"], scores["structure"]]).toEqual([0, 0, 0]);
      expect(scores["geneval"]).toBe(0);
    }
  });

  it("of one colour all over are no large square", () => {
    const red = blankRaster(SIDE, SIDE, palette.red);
    expect(detect(red)).toMatchObject({ objects: [], unknownParts: 1 });
    expect(everything.filter((item) => scoresOf(item, red)["geneval"] !== 0)).toEqual([]);
  });

  it("or the image of another prompt are right only where the other prompt asks for no more", () => {
    const [red, plain] = ["a photo of a red square", "a photo of a square"].map((text) =>
      everything.find((item) => genevalMini.prompt(item) === text)!,
    );
    const image = genevalMini.gold(red!, config, stream("echo"));
    const right = everything.filter((item) => scoresOf(item, image)["correct"] === 1);
    expect(right.map((item) => genevalMini.prompt(item)).sort()).toEqual(
      [red, plain].map((one) => genevalMini.prompt(one!)),
    );
  });
});

describe("images for a base model", () => {
  const drawn = Array.from({ length: 6000 }, (_, index) =>
    genevalMini.illustrate(stream("base", index), config),
  );

  it("are wrong as often as each tag says; the detector agrees with what they say of themselves", () => {
    for (const tag of tags) {
      const of = drawn.filter(({ item }) => item.record.tag === tag);
      const share = of.filter(({ isRight }) => !isRight).length / of.length;
      expect(Math.abs(share - config.wrong[tag]), tag).toBeLessThan(0.06);
      for (const { item, image, isRight } of of) {
        expect(scoresOf(item, image)["strict"], genevalMini.prompt(item)).toBe(Number(isRight));
      }
    }
  });

  it("swap the colours in 60 % of the wrong pairs of colours", () => {
    const wrong = drawn.filter(({ item, isRight }) => item.record.tag === "color_attr" && !isRight);
    const swapped = wrong.filter(({ item: { record }, image }) => {
      const color = new Map<Shape, string>(
        detect(image).objects.map((one) => [one.shape, one.color]),
      );
      const [a, b] = record.include;
      return color.get(a!.class as Shape) === b!.color && color.get(b!.class as Shape) === a!.color;
    });
    expect(Math.abs(swapped.length / wrong.length - 0.6)).toBeLessThan(0.08);
  });

  it("come from all suites, with masks that hold the coloured pixels", () => {
    const keys = new Set(drawn.map(({ item }) => genevalMini.key(item)));
    for (const name of miniSuites) {
      expect(
        suite(name).some((item) => keys.has(genevalMini.key(item))),
        name,
      ).toBe(true);
    }
    for (const { image, mask } of drawn.slice(0, 50)) {
      mask.forEach((bit, pixel) => {
        const [red, green, blue] = image.data.slice(pixel * 3, pixel * 3 + 3);
        expect(Math.hypot(red!, green!, blue!) > 0.7).toBe(bit === 1);
      });
    }
  });

  it("name what is wrong", () => {
    const classes = new Map<string, Set<string>>();
    for (const { item, image, isRight } of drawn.slice(0, 2000)) {
      const error = genevalMini.errorClass(item, image, config);
      const scores = scoresOf(item, image);
      expect(error === null).toBe(scores["correct"] === 1);
      if (isRight) expect(error).toBeNull();
      const tag = genevalMini.level(item);
      if (error !== null) classes.set(tag, (classes.get(tag) ?? new Set()).add(error));
    }
    expect(Object.fromEntries([...classes].map(([tag, set]) => [tag, [...set].sort()]))).toEqual({
      two_object: ["missing object"], // one that is there twice is right for GenEval
      counting: ["missing object", "too many"],
      colors: ["wrong color"],
      position: ["wrong position"],
      color_attr: ["wrong color"],
    });
  });
});

describe("the colour-blind detector", () => {
  it("sees the structure of true images in any colours, and of images that turn red", () => {
    for (const [index, item] of everything.entries()) {
      const random = stream("blind", index);
      const image = genevalMini.gold(item, { ...config, noise: 0.05 }, random);
      expect(scoresOf(item, image)["structure"]).toBe(1);
      const reddened: Raster = {
        ...image,
        data: image.data.map((value, at) => value + (at % 3 === 0 ? 0.4 : -0.2)),
      };
      expect(structureScore(item.record, detectShapes(reddened))).toBe(1);
      expect(redness(reddened)).toBeGreaterThan(redness(image) + 0.4);
    }
  });

  it("is 0 for another number, another shape, another relation", () => {
    const shown = (text: string) => {
      const item = everything.find((one) => genevalMini.prompt(one) === text)!;
      return detectShapes(genevalMini.gold(item, config, stream(text)));
    };
    const record = (text: string) =>
      everything.find((one) => genevalMini.prompt(one) === text)!.record;
    const [two, three] = ["a photo of two circles", "a photo of three circles"];
    expect(structureScore(record(two), shown(two))).toBe(1);
    expect(structureScore(record(two), shown(three))).toBe(0);
    expect(structureScore(record(three), shown(two))).toBe(0);
    const [left, right] = ["left of", "right of"].map(
      (relation) => `a photo of a circle ${relation} a square`,
    );
    expect(structureScore(record(left!), shown(right!))).toBe(0);
    expect(structureScore(record("a photo of a circle"), shown("a photo of a square"))).toBe(0);
  });

  it("sees what lies farther than 0.35 from the background, whatever its colour", () => {
    const seen = (red: number) => {
      const image = blankRaster(SIDE, SIDE, [0.2, 0, 0]);
      for (let at = 0; at < 64; at++) {
        image.data[((8 + Math.floor(at / 8)) * SIDE + 8 + (at % 8)) * 3] = red;
      }
      return detectShapes(image).map(({ shape, box }) => [shape, ...box]);
    };
    expect([seen(0.54), seen(0.56)]).toEqual([[], [["square", 8, 8, 16, 16]]]);
    expect([seen(-0.14), seen(-0.16)]).toEqual([[], [["square", 8, 8, 16, 16]]]);
  });

  it("takes the median of the border as background, and clamps", () => {
    const image = blankRaster(5, 4, [3, -0.25, 0.5]);
    for (let at = 0; at < 6; at++) image.data[at] = -1; // the minority of the border
    expect(borderColor(image)).toEqual([1, -0.25, 0.5]);
  });
});

describe("the foreground", () => {
  it("is the true mask, also of images with noise or in other colours", () => {
    for (let key = 0; key < 200; key++) {
      const random = stream("foreground", key);
      const { image, mask } = genevalMini.illustrate(random, config);
      expect(foregroundOf(image)).toEqual(mask);
      const reddened = image.data.map((value, at) => (at % 3 === 0 ? value + 0.3 : value));
      const red = foregroundOf({ ...image, data: reddened });
      const wrong = red.filter((bit, pixel) => bit !== mask[pixel]).length;
      expect(wrong).toBe(0);
      addNoise(image, 0.05, random);
      const noisy = foregroundOf(image).filter((bit, pixel) => bit !== mask[pixel]).length;
      expect(noisy).toBeLessThan(3);
    }
  });

  it("of a grey image is empty, and NaN is an error", () => {
    const grey = blankRaster(SIDE, SIDE, [0.1, 0.1, 0.1]);
    expect(foregroundOf(grey).some((bit) => bit === 1)).toBe(false);
    grey.data[5] = Number.NaN;
    expect(() => foregroundOf(grey)).toThrow(DataError);
  });
});

describe("labelled shapes", () => {
  it("show what their label says, every label as often", () => {
    const labels = shapeLabels(config);
    expect(labels).toBe(16);
    const counts = Array.from({ length: labels }, () => 0);
    const numbers = new Set<number>();
    for (let key = 0; key < 400; key++) {
      const { image, label } = labelledShapes(stream("labelled", key), config);
      const { objects } = detect(image);
      const [shape, color] = [shapes[Math.floor(label / 4)], miniColors[label % 4]];
      expect(objects.length).toBeGreaterThan(0);
      for (const object of objects) expect([object.shape, object.color]).toEqual([shape, color]);
      numbers.add(objects.length);
      counts[label]!++;
    }
    expect(numbers).toEqual(new Set([1, 2, 3, 4]));
    for (const count of counts) expect(Math.abs(count - 25)).toBeLessThan(20);
  });
});

describe("metrics of images", () => {
  it("redness looks at the side of the mask that is asked for", () => {
    const image = blankRaster(1, 2, [1, -1, -1]);
    image.data.set([0, 1, 1], 3);
    const mask = Uint8Array.of(1, 0);
    expect([redness(image, mask, 1), redness(image, mask, 0), redness(image)]).toEqual([
      2, -1, 0.5,
    ]);
  });

  it("layout entropy is 0 for one place, 1 for all cells alike, and high for our own scenes", () => {
    const at = (x: number, y: number) => ({ box: [x, y, x + 6, y + 6] }) as never;
    expect(layoutEntropy([[at(0, 0)], [at(0, 0)]])).toBeCloseTo(0, 12);
    const cells = [0, 6, 12, 18].flatMap((x) => [0, 6, 12, 18].map((y) => [at(x, y)]));
    expect(layoutEntropy(cells)).toBeCloseTo(1, 12);
    expect(layoutEntropy([[], []])).toBeNaN();
    const single = suite("train").find(({ record }) => record.tag === "single_object")!;
    const own = Array.from(
      { length: 200 },
      (_, index) => detect(genevalMini.gold(single, config, stream("layout", index))).objects,
    );
    expect(layoutEntropy(own)).toBeGreaterThan(0.8);
  });

  it("background deviation is that of the noise", () => {
    const item = suite("train")[3]!;
    for (const noise of [0, 0.05, 0.1]) {
      const image = genevalMini.gold(item, { ...config, noise }, stream("background"));
      const { backgroundDeviation } = scoresOf(item, image);
      expect(Math.abs(backgroundDeviation! - noise)).toBeLessThan(0.01);
    }
  });

  it("stay numbers for any image", () => {
    const pixels = fc.float32Array({
      minLength: SIDE * SIDE * 3,
      maxLength: SIDE * SIDE * 3,
      noNaN: true,
      noDefaultInfinity: true,
      min: -100,
      max: 100,
    });
    fc.assert(
      fc.property(pixels, fc.nat(everything.length - 1), (data, index) => {
        const scores = scoresOf(everything[index]!, { shape: [SIDE, SIDE, 3], data });
        expect(Object.keys(scores)).toEqual(Object.keys(genevalMini.scores));
        expect(Object.values(scores).every(Number.isFinite)).toBe(true);
        expect(scores["geneval"]).toBeLessThanOrEqual(1);
      }),
      { numRuns: 40 },
    );
  });
});

describe("the quadrant task", () => {
  const of = quadrantTask.config.parse({});
  const judge = (item: Parameters<typeof quadrantTask.prompt>[0], image: Raster) =>
    quadrantTask.score(item, image, of, new AbortController().signal) as Readonly<
      Record<string, number>
    >;
  const items = quadrantTask.suites.flatMap((name) => quadrantTask.items(name, of));

  it("gives gold full marks, and other images what they have", () => {
    expect(new Set(items.map((item) => quadrantTask.prompt(item))).size).toBe(12);
    expect(quadrantTask.items("test", of).length).toBe(2);
    for (const [index, item] of items.entries()) {
      const image = quadrantTask.gold(item, { ...of, noise: 0.08 }, stream("quadrant", index));
      for (const other of items) {
        const scores = judge(other, image);
        const parts = 1 + Number(other.color === item.color) + Number(other.place === item.place);
        const structure = Number(other.place === item.place);
        const correct = Number(parts === 3);
        const { backgroundDeviation, ...rest } = scores;
        expect(rest).toEqual({ parts: parts / 3, correct, structure, redness: redness(image) });
        expect(Math.abs(backgroundDeviation! - 0.08)).toBeLessThan(0.015);
      }
    }
    const words = quadrantTask.vocabulary(of);
    for (const item of items) expect(wordIds(quadrantTask.prompt(item), words).length).toBe(7);
  });

  it("gives nothing for images without a square", () => {
    for (const color of [
      [0, 0, 0],
      [-1, -1, -1],
      [1, 1, 1],
    ] as const) {
      for (const item of items) {
        const scores = judge(item, blankRaster(12, 12, color));
        const nothing = { parts: 0, correct: 0, structure: 0, redness: 0, backgroundDeviation: 0 };
        expect(scores).toEqual(nothing);
      }
    }
    const noise = blankRaster(12, 12, [0, 0, 0]);
    addNoise(noise, 1, stream("quadrant noise"));
    for (const item of items) expect(judge(item, noise)["correct"]).toBe(0);
  });

  it("shows a base model 40 % wrong images, which say so", () => {
    const drawn = Array.from({ length: 1500 }, (_, index) =>
      quadrantTask.illustrate(stream("q", index), of),
    );
    for (const { item, image, isRight } of drawn) {
      expect(judge(item, image)["correct"]).toBe(Number(isRight));
      expect(quadrantTask.errorClass(item, image, of) === null).toBe(isRight);
    }
    const wrong = drawn.filter(({ isRight }) => !isRight);
    expect(Math.abs(wrong.length / 1500 - 0.4)).toBeLessThan(0.05);
    const recolored = wrong.filter(
      ({ item, image }) => quadrantTask.errorClass(item, image, of) === "wrong color",
    );
    expect(Math.abs(recolored.length / wrong.length - 0.5)).toBeLessThan(0.1);
  });
});
