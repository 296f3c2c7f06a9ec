// Where a box stands to another one. GenEval (arXiv:2310.11513), relative_position of evaluation/evaluate_images.py.
//
//   d = centre_A - centre_B;  r = sign(d) · max(|d| - 0.1 · (dim_A + dim_B), 0);  u = r / ‖d‖
//   left: u_x < -0.5   right: u_x > 0.5   above: u_y < -0.5   below: u_y > 0.5   (y down; several may hold)

import type { Relation } from "./vocabulary.ts";

/** Edges of a box; origin top left, y down. */
export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

const SLACK = 0.1;
const LEAST = 1e-3;

/** Relations of box `a` to box `b`. */
export function relationsOf(a: Box, b: Box): readonly Relation[] {
  const offset = (low: number, high: number): readonly [number, number] => {
    const d = (a[low]! + a[high]!) / 2 - (b[low]! + b[high]!) / 2;
    const size = Math.abs(a[high]! - a[low]!) + Math.abs(b[high]! - b[low]!);
    return [d, Math.sign(d) * Math.max(Math.abs(d) - SLACK * size, 0)];
  };
  const [dx, rx] = offset(0, 2);
  const [dy, ry] = offset(1, 3);
  if (Math.abs(rx) < LEAST && Math.abs(ry) < LEAST) return [];
  // Of the offset before it was reduced: a small rest of it counts as small.
  const norm = Math.sqrt(dx * dx + dy * dy);
  const found: Relation[] = [];
  if (rx / norm < -0.5) found.push("left of");
  if (rx / norm > 0.5) found.push("right of");
  if (ry / norm < -0.5) found.push("above");
  if (ry / norm > 0.5) found.push("below");
  return found;
}
