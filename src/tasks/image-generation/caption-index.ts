// videos2caption.json of DanceGRPO (and of FastVideo, which it comes from): one list of records, each with a caption and the files of
// its text embeddings. We read captions; the files belong to models that we do not run.
//
//   [{"prompt_embed_path": "7.pt", "text_ids": "7.pt", "pooled_prompt_embeds_path": "7.pt", "caption": "a paper boat on a puddle"}]

import { writeFile } from "node:fs/promises";
import { z } from "zod";
import { readJsonList } from "../../data/json-list.ts";
import { parseFields } from "./record.ts";

const file = z.string().min(1).optional();

/** Fields that we do not know are kept as they are. */
const captionSchema = z.looseObject({
  caption: z.string().min(1),
  /** Names within the folders `prompt_embed/`, `text_ids/`, `pooled_prompt_embeds/` beside the index. */
  prompt_embed_path: file,
  text_ids: file,
  pooled_prompt_embeds_path: file,
});

export type CaptionRecord = z.output<typeof captionSchema>;

/** All records of an index, in order. Throws a DataError that names file, line, record and field. */
export async function readCaptionIndex(path: string): Promise<CaptionRecord[]> {
  const list = await readJsonList(path);
  return list.map(({ value, where }) => parseFields(captionSchema, value, where));
}

/** Writes an index, indented by four as DanceGRPO's is. */
export async function writeCaptionIndex(
  path: string,
  records: readonly CaptionRecord[],
): Promise<void> {
  await writeFile(path, JSON.stringify(records, null, 4));
}
