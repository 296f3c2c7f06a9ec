// Random valid data of the published layouts of image generation, for property tests.

import * as fc from "fast-check";
import {
  relations,
  tags,
  type Detections,
  type GenevalRecord,
  type ImageResult,
} from "../src/tasks/image-generation/index.ts";

/** Text of a field; anything goes. */
export const fieldText = fc.string({ minLength: 1, maxLength: 12 });

/** A number that JSON keeps: it has no -0. */
export const jsonNumber = fc
  .double({ noNaN: true, noDefaultInfinity: true })
  .map((value) => value + 0);

const count = fc.integer({ min: 1, max: 9 });
const optional = <Value>(of: fc.Arbitrary<Value>) => fc.option(of, { nil: undefined });

export const genevalRecords: fc.Arbitrary<GenevalRecord> = fc
  .record({
    tag: fc.constantFrom(...tags),
    parts: fc.array(
      fc.record({
        name: fieldText,
        count,
        color: optional(fieldText),
        position: optional(fc.tuple(fc.constantFrom(...relations), fc.nat())),
      }),
      { minLength: 1, maxLength: 4 },
    ),
    exclude: optional(fc.array(fc.record({ class: fieldText, count }))),
    prompt: fieldText,
  })
  .map(({ tag, parts, exclude, prompt }) => ({
    tag,
    include: parts.map(({ name, count: of, color, position }, index) => ({
      class: name,
      count: of,
      ...(color !== undefined && { color }),
      ...(position !== undefined &&
        index > 0 && {
          position: [position[0], position[1] % index] as [(typeof position)[0], number],
        }),
    })),
    ...(exclude !== undefined && { exclude }),
    prompt,
  }));

const boxes = fc
  .tuple(jsonNumber, jsonNumber, jsonNumber, jsonNumber)
  .map(
    ([a, b, c, d]) =>
      [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)] as [
        number,
        number,
        number,
        number,
      ],
  );
/** JSON as a file gives it back: it has no -0. */
const plainJson = fc.jsonValue().map((value): unknown => JSON.parse(JSON.stringify(value)));
const confidence = fc.double({ min: 0, max: 1, noNaN: true }).map((value) => value + 0);

/** Of up to three classes, their colours known or not. */
export const detections: fc.Arbitrary<Detections> = fc
  .uniqueArray(fieldText, { maxLength: 3 })
  .chain((names) =>
    fc.tuple(
      ...names.map((name) => {
        const detection = fc
          .tuple(boxes, confidence, optional(fieldText))
          .map(([box, of, color]) => ({
            box,
            confidence: of,
            ...(color !== undefined && { color }),
          }));
        return fc.tuple(fc.constant(name), fc.array(detection, { maxLength: 3 }));
      }),
    ),
  )
  .map((entries) => new Map(entries));

/** With verdict, reward and unknown fields, or without. */
export const imageResults: fc.Arbitrary<ImageResult> = fc.record(
  {
    filename: fieldText,
    record: genevalRecords,
    detections,
    isCorrect: fc.boolean(),
    isStrictlyCorrect: fc.boolean(),
    reward: jsonNumber,
    reason: fc.string(),
    more: fc.record({ seed: fc.integer(), "step/size": plainJson }),
  },
  { requiredKeys: ["filename", "record", "detections"] },
);
