"""Reads what `alidade metrics --tensorboard --wandb` wrote with the readers of TensorBoard and W&B, and compares every number.

usage: check-trackers.py RUN TENSORBOARD WANDB; prints one JSON document.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import wandb
from wandb.proto import wandb_internal_pb2


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def number(value):
    return float(value) if isinstance(value, str) else value


def check(condition, message):
    if not condition:
        sys.exit(message)


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def expected_scalars(run):
    """[tag][step of the stage] of every metric."""
    scalars = {}
    for record in lines(run / "metrics.jsonl"):
        for name, value in record.items():
            if name not in ("stage", "step"):
                scalars.setdefault(f"{record['stage']}/{name}", {})[record["step"]] = number(value)
    return scalars


def check_tensorboard(run, folder):
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    reader.Reload()
    scalars = expected_scalars(run)
    found = set(reader.Tags()["scalars"])
    check(set(scalars) <= found, f"TensorBoard lacks {set(scalars) - found}")
    for tag, values in scalars.items():
        events = {event.step: event.value for event in reader.Scalars(tag)}
        check(set(events) == set(values), f"TensorBoard has other steps of {tag}")
        for step, value in values.items():
            check(same(events[step], float(np.float32(value))), f"TensorBoard: {tag} at {step}")
    judged = [tag for tag in found if tag.startswith("evaluation/") and tag.endswith("/accuracy")]
    accuracies = [event.value for tag in judged for event in reader.Scalars(tag)]
    stored = [float(np.float32(one["correct"])) for one in lines(run / "evaluations.jsonl")]
    check(sorted(accuracies) == sorted(stored), "TensorBoard has other accuracies")
    histograms = 0
    for record in lines(run / "histograms.jsonl"):
        for name, one in record.items():
            if not isinstance(one, dict):
                continue
            tag = f"{record['stage']}/histogram/{name}"
            [event] = [event for event in reader.Histograms(tag) if event.step == record["step"]]
            read = event.histogram_value
            check(list(read.bucket) == one["counts"], f"TensorBoard: counts of {tag}")
            check(list(read.bucket_limit) == one["edges"][1:], f"TensorBoard: edges of {tag}")
            facts = (read.min, read.max, read.num, read.sum, read.sum_squares)
            wanted = tuple(one[key] for key in ("min", "max", "count", "sum", "sumSquares"))
            check(facts == wanted, f"TensorBoard: facts of {tag}")
            histograms += 1
    return {"scalars": sum(map(len, scalars.values())), "accuracies": len(stored), "histograms": histograms}


def wandb_records(path):
    """The serialised records, by W&B's own reader (which its later versions no longer have in Python)."""
    from wandb.sdk.internal.datastore import DataStore

    wandb._set_internal_process()
    store = DataStore()
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        yield data


def check_wandb(run, folder):
    [path] = folder.glob("wandb/offline-run-*/run-*.wandb")
    kinds, rows, steps = [], [], []
    for data in wandb_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        check(len(UnknownFieldSet(record)) == 0, "W&B: a record with unknown fields")
        kinds.append(record.WhichOneof("record_type"))
        if kinds[-1] == "history":
            rows.append({item.key: json.loads(item.value_json) for item in record.history.item})
            steps.append(record.history.step.num)
        if kinds[-1] == "run":
            check(record.run.run_id in path.name, "W&B: the id of the run")
    check(kinds[:2] == ["header", "run"] and kinds[-2:] == ["summary", "exit"], f"W&B: records {kinds}")
    check(steps == sorted(set(steps)), "W&B: steps must rise")
    count = 0
    for tag, values in expected_scalars(run).items():
        stage = tag.split("/")[0]
        found = {row[f"{stage}/step"]: number(row[tag]) for row in rows if tag in row}
        check(set(found) == set(values), f"W&B has other steps of {tag}")
        for step, value in values.items():
            check(same(found[step], value), f"W&B: {tag} at {step}")
            count += 1
    histograms = sum(1 for row in rows for one in row.values() if isinstance(one, dict))
    return {"scalars": count, "histograms": histograms}


run, tensorboard, wandb_folder = map(Path, sys.argv[1:4])
print(json.dumps({"tensorboard": check_tensorboard(run, tensorboard), "wandb": check_wandb(run, wandb_folder)}))
