// The folder of images that GenEval evaluates: NNNNN/metadata.jsonl (one record), NNNNN/samples/0000.png, …, and for people
// NNNNN/grid.png; other files are left alone, as its script does.

import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "../../core/errors.ts";
import { readBytes, readText } from "../../data/text-file.ts";
import { decodePng, encodePng } from "../../image/png.ts";
import type { Raster } from "../../image/raster.ts";
import { recordLines } from "./record-files.ts";
import { type GenevalRecord, parseJson, parseRecord } from "./record.ts";

/** The images of one prompt. */
export interface ImageFolder {
  readonly record: GenevalRecord;
  /** Paths of the images, by number. */
  readonly files: readonly string[];
  /** Path of the picture of all of them, where there is one. */
  readonly grid?: string;
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: folder, expected: "a folder", got, cause });
  }
}

/** The one record of a file; it may stand on several lines, as json.load reads it. */
async function readMetadata(path: string): Promise<GenevalRecord> {
  const where = `${path}, line 1`;
  const text = (await readText(path)).trim();
  if (text === "") throw new DataError({ where, expected: "one record", got: "an empty file" });
  return parseRecord(parseJson(text, where, "one record"), where);
}

/** Every prompt folder below `root`, by number. Throws a DataError when there is none, or one without images. */
export async function readImageFolders(root: string): Promise<ImageFolder[]> {
  const names = (await list(root)).filter((name) => /^\d+$/.test(name));
  if (names.length === 0) {
    throw new DataError({ where: root, expected: "folders 00000, 00001, …", got: "none" });
  }
  names.sort((a, b) => Number(a) - Number(b));
  const folders: ImageFolder[] = [];
  for (const name of names) {
    const record = await readMetadata(join(root, name, "metadata.jsonl"));
    const samples = join(root, name, "samples");
    const files = (await list(samples)).filter((file) => /^\d+\.png$/.test(file));
    if (files.length === 0) {
      throw new DataError({ where: samples, expected: "images 0000.png, …", got: "none" });
    }
    files.sort((a, b) => Number.parseInt(a) - Number.parseInt(b));
    const hasGrid = (await list(join(root, name))).includes("grid.png");
    folders.push({
      record,
      files: files.map((file) => join(samples, file)),
      ...(hasGrid && { grid: join(root, name, "grid.png") }),
    });
  }
  return folders;
}

/** The image of a file. Throws a DataError that names it. */
export async function readImage(path: string): Promise<Raster> {
  return decodePng(await readBytes(path), path);
}

/** Writes one prompt's folder with its images. */
export async function writeImageFolder(
  root: string,
  index: number,
  record: GenevalRecord,
  images: readonly Raster[],
): Promise<void> {
  const folder = join(root, String(index).padStart(5, "0"));
  await mkdir(join(folder, "samples"), { recursive: true });
  await writeFile(join(folder, "metadata.jsonl"), recordLines([record]));
  for (const [number, image] of images.entries()) {
    const file = `${String(number).padStart(4, "0")}.png`;
    await writeFile(join(folder, "samples", file), encodePng(image));
  }
}
