// Smoothing and resizing of a grid of numbers, row-major, one axis after the other. The conventions are those of the Python
// libraries that maps are made with, so that maps agree with theirs.

export interface Grid {
  readonly height: number;
  readonly width: number;
  /** [height, width] */
  readonly values: Float64Array;
}

/** What one output element takes from a line: input elements `start`, `start` + 1, … with these weights. */
interface Tap {
  readonly start: number;
  readonly weights: readonly number[];
}

/** Applies taps to `lines` lines; element i of line l lies at l · lineStride + i · stride of the input. */
function alongLines(
  input: Float64Array,
  lines: number,
  [lineStride, stride]: readonly [number, number],
  taps: readonly Tap[],
): Float64Array {
  const output = new Float64Array(lines * taps.length); // [line, element]
  for (let line = 0; line < lines; line++) {
    taps.forEach(({ start, weights }, element) => {
      let sum = 0;
      weights.forEach((weight, offset) => {
        sum += weight * input[line * lineStride + (start + offset) * stride]!;
      });
      output[line * taps.length + element] = sum;
    });
  }
  return output;
}

/** Taps along height, then along width. */
function separable({ height, width, values }: Grid, down: readonly Tap[], across: readonly Tap[]) {
  const columns = alongLines(values, width, [1, width], down); // [width, newHeight]
  const result = alongLines(columns, down.length, [1, down.length], across); // [newHeight, newWidth]
  return { height: down.length, width: across.length, values: result, from: height };
}

/**
 * Gaussian of deviation sigma in cells, cut at 4 sigma, the grid mirrored at its edges (d c b a | a b c d | d c b a), as
 * `scipy.ndimage.gaussian_filter`. sigma 0: the grid itself.
 */
export function gaussianSmooth(grid: Grid, sigma: number): Grid {
  if (sigma === 0) return grid;
  const radius = Math.floor(4 * sigma + 0.5);
  const kernel = Array.from({ length: 2 * radius + 1 }, (_, index) =>
    Math.exp(-0.5 * ((index - radius) / sigma) ** 2),
  );
  const total = kernel.reduce((sum, value) => sum + value, 0);
  const taps = (length: number): Tap[] =>
    Array.from({ length }, (_, element) => {
      const weights = Array.from({ length }, () => 0);
      kernel.forEach((value, index) => {
        const period = 2 * length;
        const at = (((element + index - radius) % period) + period) % period;
        weights[at < length ? at : period - 1 - at]! += value / total;
      });
      return { start: 0, weights };
    });
  const { height, width, values } = separable(grid, taps(grid.height), taps(grid.width));
  return { height, width, values };
}

/** Triangle of half width max(1, from / to) around the place of each output element; weights sum to 1. */
function triangleTaps(from: number, to: number): Tap[] {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, element) => {
    const center = scale * (element + 0.5);
    const start = Math.max(Math.floor(center - support + 0.5), 0);
    const end = Math.min(Math.floor(center + support + 0.5), from);
    const raw = Array.from({ length: end - start }, (_unused, offset) =>
      Math.max(0, 1 - Math.abs((start + offset - center + 0.5) / support)),
    );
    const total = raw.reduce((sum, value) => sum + value, 0);
    return { start, weights: raw.map((value) => value / total) };
  });
}

/** Bilinear with antialiasing: `torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False)`. */
export function resizeGrid(grid: Grid, height: number, width: number): Grid {
  if (grid.height === height && grid.width === width) return grid;
  const down = triangleTaps(grid.height, height);
  const { values } = separable(grid, down, triangleTaps(grid.width, width));
  return { height, width, values };
}

/**
 * Another number of frames, linear between neighbours: trilinear interpolation of torch (no antialiasing, align_corners=False)
 * where height and width stay. Frames are arrays of one length.
 */
export function resizeFrames(frames: readonly Float64Array[], count: number): Float64Array[] {
  if (frames.length === count) return [...frames];
  return Array.from({ length: count }, (_, frame) => {
    const place = Math.max(((frame + 0.5) * frames.length) / count - 0.5, 0);
    const before = Math.min(Math.floor(place), frames.length - 1);
    const after = frames[Math.min(before + 1, frames.length - 1)]!;
    const share = place - before;
    return frames[before]!.map((value, index) => (1 - share) * value + share * after[index]!);
  });
}
