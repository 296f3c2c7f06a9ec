import { expect, test } from "vitest";
import { randomStream } from "../core/random.ts";
import { drawRows } from "./vocabulary-rows.ts";

const [width, known] = [3, 40];

/** Mean and covariance of rows [count][width]. */
function moments(rows: readonly (readonly number[])[]) {
  const columns = [0, 1, 2];
  const mean = columns.map((c) => rows.reduce((sum, row) => sum + row[c]!, 0) / rows.length);
  const covariance = columns.map((a) =>
    columns.map(
      (b) =>
        rows.reduce((sum, row) => sum + (row[a]! - mean[a]!) * (row[b]! - mean[b]!), 0) /
        rows.length,
    ),
  );
  return { mean, covariance };
}

const rowsOf = (values: Float32Array): number[][] =>
  Array.from({ length: values.length / width }, (_, row) => [
    ...values.subarray(row * width, (row + 1) * width),
  ]);

test("new rows have the mean of the known ones and 1e-5 of their covariance", () => {
  const random = randomStream("vocabulary rows");
  // Columns that go together, around a mean that is not zero; what lies behind the known rows is not looked at.
  const matrix = new Float32Array((known + 5) * width).fill(1e9);
  for (let row = 0; row < known; row++) {
    const [a, b] = [random.normal(), random.normal()];
    matrix.set([0.4 + 20 * a, -0.3 + 8 * a + 4 * b, 2 * b], row * width);
  }
  const expected = moments(rowsOf(matrix.subarray(0, known * width)));
  const drawn = drawRows(matrix, { width, known, count: 20_000 }, random);
  const found = moments(rowsOf(drawn));
  expected.mean.forEach((value, c) => expect(found.mean[c]).toBeCloseTo(value, 2));
  const scale = Math.sqrt(expected.covariance[0]![0]! * expected.covariance[1]![1]!);
  expected.covariance.forEach((row, a) =>
    row.forEach((value, b) =>
      expect(Math.abs(found.covariance[a]![b]! / 1e-5 - value) / scale).toBeLessThan(0.05),
    ),
  );
  const again = drawRows(matrix, { width, known, count: 2 }, randomStream("vocabulary rows"));
  expect(again).toEqual(
    drawRows(matrix, { width, known, count: 3 }, randomStream("vocabulary rows")).subarray(0, 6),
  );
});
