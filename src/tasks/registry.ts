// Every task, by name.

import { unknownName } from "../core/errors.ts";
import type { Task } from "../core/task.ts";
import { mazeTask } from "./maze/index.ts";
import { xiangqiTask } from "./xiangqi/task.ts";

/** A task whose item and config types only the task itself knows. */
export type AnyTask = Task<unknown, unknown>;

export const tasks: readonly AnyTask[] = [mazeTask, xiangqiTask];

/** The task with this name; throws a ConfigError that names the nearest. */
export function findTask(name: string, known: readonly AnyTask[] = tasks): AnyTask {
  const task = known.find((one) => one.name === name);
  if (task !== undefined) return task;
  throw unknownName(
    "task",
    "task",
    name,
    known.map((one) => one.name),
  );
}
