// Where the model of a path is: the model of a run, or the folder itself.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../core/errors.ts";

/** The folder with `config.json`, or the `flow.json` of a flow model. Throws a ConfigError when the path has none. */
export function findModel(path: string): string {
  const folder = [join(path, "model"), path].find((one) =>
    ["config.json", "flow.json"].some((file) => existsSync(join(one, file))),
  );
  if (folder !== undefined) return folder;
  throw new ConfigError({
    where: path,
    expected: "a run with a trained model, or a model folder with config.json or flow.json",
    got: existsSync(path) ? "neither" : "no such folder",
    hint: "a run has a model once its training is done",
  });
}
