// Boards on which Xiangqi is played, and where each piece can go on them: tables that move generation walks through.
//
// Coordinates: files a, b, c … from left to right and ranks 0, 1, 2 … upwards, both as Red sees them; square = rank · files + file.
// Red sits at rank 0 and moves first. Sources: Chinese rules of 1999; Minixiangqi by S. Goto (1973) as Fairy-Stockfish plays it.

/** 0: Red, 1: Black. */
export type Side = 0 | 1;
export const RED = 0;
export const BLACK = 1;

/** Kinds of pieces; a piece is its kind, plus 8 when it is Black's. 0: nobody. */
export const KIND = {
  general: 1,
  advisor: 2,
  elephant: 3,
  horse: 4,
  chariot: 5,
  cannon: 6,
  soldier: 7,
} as const;

/** Letters of the kinds in a FEN, by kind; upper case for Red. */
export const pieceLetters = " KABNRCP";

/** Ends a list of squares in a table. */
export const END = 255;

/**
 * Flat tables: the list of an entry begins at entry · stride and ends with END. `rays` has four entries a square (right, left,
 * up, down), `soldier` and `soldierFrom` one a square for Red and then for Black.
 */
export interface MoveTables {
  readonly rays: Uint8Array;
  readonly rayStride: number;
  /** Pairs: the leg beside the horse, and where it lands. */
  readonly horse: Uint8Array;
  /** Pairs: where a horse stands that attacks the square, and its leg. */
  readonly horseFrom: Uint8Array;
  /** Pairs: the eye, and where the elephant lands. */
  readonly elephant: Uint8Array;
  readonly pairStride: number;
  readonly advisor: Uint8Array;
  readonly general: Uint8Array;
  readonly soldier: Uint8Array;
  /** Where a soldier of the side stands that attacks the square. */
  readonly soldierFrom: Uint8Array;
  readonly stepStride: number;
  /** 1 where a change on the second square can open or close an attack on a general on the first: entry = first · squares + second. */
  readonly nearLine: Uint8Array;
}

export interface Variant {
  readonly name: "xiangqi" | "minixiangqi";
  readonly files: number;
  readonly ranks: number;
  readonly squares: number;
  /** Ranks from Red's side up to the river; 0: there is none, and soldiers step sideways from the start. */
  readonly riverRank: number;
  readonly start: string;
  /** Most pieces of a kind that a side can have, by kind. */
  readonly most: readonly number[];
  /** Where a piece of this kind and side can ever stand: 1 or 0 at (kind · 2 + side) · squares + square. */
  readonly places: Uint8Array;
  readonly tables: MoveTables;
}

interface Shape {
  readonly name: Variant["name"];
  readonly files: number;
  readonly ranks: number;
  readonly start: string;
  readonly most: readonly number[];
  /** Files and ranks of Red's palace, both ends included. */
  readonly palace: { readonly files: readonly [number, number]; readonly topRank: number };
  /** Ranks from Red's side up to the river; 0: there is none, and soldiers step sideways from the start. */
  readonly riverRank: number;
  /** Rank on which Red's soldiers begin. */
  readonly soldierRank: number;
}

const shapes: Readonly<Record<Variant["name"], Shape>> = {
  xiangqi: {
    name: "xiangqi",
    files: 9,
    ranks: 10,
    start: "rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C5C1/9/RNBAKABNR w - - 0 1",
    most: [0, 1, 2, 2, 2, 2, 2, 5],
    palace: { files: [3, 5], topRank: 2 },
    riverRank: 5,
    soldierRank: 3,
  },
  minixiangqi: {
    name: "minixiangqi",
    files: 7,
    ranks: 7,
    start: "rcnkncr/p1ppp1p/7/7/7/P1PPP1P/RCNKNCR w - - 0 1",
    most: [0, 1, 0, 0, 2, 2, 2, 5],
    palace: { files: [2, 4], topRank: 2 },
    riverRank: 0,
    soldierRank: 1,
  },
};

const orthogonal = [
  [1, 0],
  [-1, 0],
  [0, 1],
  [0, -1],
] as const;
const diagonal = [
  [1, 1],
  [1, -1],
  [-1, 1],
  [-1, -1],
] as const;

type Point = readonly [file: number, rank: number];

/** Whether a piece of Red can ever stand on a point. Black's points are Red's, seen from the other end. */
function isRedPlace(shape: Shape, kind: number, [file, rank]: Point): boolean {
  const { palace, riverRank, soldierRank } = shape;
  const isInPalace = file >= palace.files[0] && file <= palace.files[1] && rank <= palace.topRank;
  const [centreFile, centreRank] = [(palace.files[0] + palace.files[1]) / 2, 1];
  switch (kind) {
    case KIND.general:
      return isInPalace;
    case KIND.advisor:
      return isInPalace && (file + rank) % 2 === (centreFile + centreRank) % 2;
    case KIND.elephant:
      return riverRank > 0 && rank % 2 === 0 && rank < riverRank && (file + rank) % 4 === 2;
    case KIND.soldier:
      if (rank >= riverRank && rank >= soldierRank) return true;
      return rank >= soldierRank && file % 2 === 0;
    default:
      return true;
  }
}

class ListTable {
  readonly #lists: number[][] = [];

  push(list: readonly number[]): void {
    this.#lists.push([...list, END]);
  }

  get stride(): number {
    return Math.max(...this.#lists.map((list) => list.length));
  }

  flat(stride = this.stride): Uint8Array {
    const table = new Uint8Array(this.#lists.length * stride).fill(END);
    this.#lists.forEach((list, entry) => table.set(list, entry * stride));
    return table;
  }
}

function makeVariant(shape: Shape): Variant {
  const { files, ranks, riverRank } = shape;
  const squares = files * ranks;
  const all = Array.from({ length: squares }, (_, square) => square);
  const pointOf = (square: number): Point => [square % files, Math.floor(square / files)];
  const isOn = ([file, rank]: Point): boolean =>
    file >= 0 && file < files && rank >= 0 && rank < ranks;
  const squareOf = ([file, rank]: Point): number => rank * files + file;
  const moved = ([file, rank]: Point, [right, up]: Point, times = 1): Point => [
    file + right * times,
    rank + up * times,
  ];

  const places = new Uint8Array(8 * 2 * squares);
  for (let kind = 1; kind < 8; kind++) {
    if (shape.most[kind] === 0) continue;
    for (const square of all) {
      const [file, rank] = pointOf(square);
      const seen: readonly Point[] = [
        [file, rank],
        [file, ranks - 1 - rank],
      ];
      seen.forEach((point, side) => {
        places[(kind * 2 + side) * squares + square] = Number(isRedPlace(shape, kind, point));
      });
    }
  }
  const mayStand = (kind: number, side: Side, point: Point): boolean =>
    isOn(point) && places[(kind * 2 + side) * squares + squareOf(point)] === 1;
  /** Steps that stay on the points of either side (an elephant never leaves its half, a general never its palace). */
  const confined = (kind: number, from: Point, steps: readonly Point[]): Point[] =>
    steps.filter((to) =>
      ([RED, BLACK] as const).some(
        (side) => mayStand(kind, side, from) && mayStand(kind, side, to),
      ),
    );

  const rays = new ListTable();
  const horse = new ListTable();
  const horseFrom = new ListTable();
  const elephant = new ListTable();
  const advisor = new ListTable();
  const general = new ListTable();
  const soldier = new ListTable();
  const soldierFrom = new ListTable();
  const nearLine = new Uint8Array(squares * squares);

  for (const square of all) {
    const from = pointOf(square);
    for (const step of orthogonal) {
      const ray: number[] = [];
      for (let to = moved(from, step); isOn(to); to = moved(to, step)) ray.push(squareOf(to));
      rays.push(ray);
    }
    const jumps: number[] = [];
    const attackers: number[] = [];
    for (const [right, up] of orthogonal) {
      const leg = moved(from, [right, up]);
      for (const aside of [-1, 1]) {
        const to = moved(leg, [right + (right === 0 ? aside : 0), up + (up === 0 ? aside : 0)]);
        if (isOn(to)) jumps.push(squareOf(leg), squareOf(to));
      }
    }
    // A horse that lands here came over a leg beside itself, which is diagonally beside this square.
    for (const corner of diagonal) {
      const leg = moved(from, corner);
      for (const [right, up] of [
        [corner[0], 0],
        [0, corner[1]],
      ] as const) {
        const stand = moved(leg, [right, up]);
        if (isOn(stand) && isOn(leg)) attackers.push(squareOf(stand), squareOf(leg));
      }
    }
    horse.push(jumps);
    horseFrom.push(attackers);
    const leaps = diagonal.map((step) => [moved(from, step), moved(from, step, 2)] as const);
    elephant.push(
      leaps
        .filter(([, to]) => confined(KIND.elephant, from, [to]).length > 0)
        .flatMap((pair) => pair.map(squareOf)),
    );
    const steps = (kind: number, directions: readonly Point[]): number[] =>
      confined(
        kind,
        from,
        directions.map((step) => moved(from, step)),
      ).map(squareOf);
    advisor.push(steps(KIND.advisor, diagonal));
    general.push(steps(KIND.general, orthogonal));

    const [file, rank] = from;
    for (const other of all) {
      const [otherFile, otherRank] = pointOf(other);
      const [across, along] = [Math.abs(file - otherFile), Math.abs(rank - otherRank)];
      const isNear = across === 0 || along === 0 || (across === 1 && along === 1);
      nearLine[square * squares + other] = Number(isNear);
    }
  }
  for (const side of [RED, BLACK] as const) {
    const forward = side === RED ? 1 : -1;
    const crossed = (square: number): boolean =>
      hasCrossed(square, side, { files, ranks, riverRank });
    const stepsOf = (square: number): number[] => {
      const sideways = crossed(square)
        ? ([
            [1, 0],
            [-1, 0],
          ] as const)
        : [];
      return [[0, forward] as const, ...sideways]
        .map((step) => moved(pointOf(square), step))
        .filter(isOn)
        .map(squareOf);
    };
    for (const square of all) soldier.push(stepsOf(square));
    for (const square of all) {
      soldierFrom.push(all.filter((from) => stepsOf(from).includes(square)));
    }
  }

  const pairStride = Math.max(horse.stride, horseFrom.stride, elephant.stride);
  const stepStride = Math.max(advisor.stride, general.stride, soldier.stride, soldierFrom.stride);
  return {
    name: shape.name,
    files,
    ranks,
    squares,
    riverRank,
    start: shape.start,
    most: shape.most,
    places,
    tables: {
      rays: rays.flat(),
      rayStride: rays.stride,
      horse: horse.flat(pairStride),
      horseFrom: horseFrom.flat(pairStride),
      elephant: elephant.flat(pairStride),
      pairStride,
      advisor: advisor.flat(stepStride),
      general: general.flat(stepStride),
      soldier: soldier.flat(stepStride),
      soldierFrom: soldierFrom.flat(stepStride),
      stepStride,
      nearLine,
    },
  };
}

/** Whether a square lies beyond the river for a side; where there is none, every square does. */
export function hasCrossed(
  square: number,
  side: Side,
  { files, ranks, riverRank }: Pick<Variant, "files" | "ranks" | "riverRank">,
): boolean {
  const rank = Math.floor(square / files);
  return (side === RED ? rank : ranks - 1 - rank) >= riverRank;
}

/** Whether the piece can ever stand on the square. */
export const canStand = (piece: number, square: number, { places, squares }: Variant): boolean =>
  places[((piece & 7) * 2 + (piece >>> 3)) * squares + square] === 1;

/** The game on 9 x 10 points. */
export const xiangqi: Variant = makeVariant(shapes.xiangqi);
/** The game on 7 x 7 points, without advisors, elephants and a river. */
export const minixiangqi: Variant = makeVariant(shapes.minixiangqi);

export const variants = { xiangqi, minixiangqi } as const;
export const variantNames = Object.keys(variants) as Variant["name"][];
