"""What the Python peers share: reading the job (workloads.ts), the clock, memory, the line of JSON they print last."""

import json
import os
import re
import sys
import time
from importlib.metadata import version


def read_job() -> dict:
    """The job, with both thread pools of PyTorch set to it before anything runs."""
    import torch

    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.set_num_interop_threads(1)
    torch.manual_seed(1)
    return job


def read_batch(job: dict, name: str) -> list[list[int]]:
    with open(os.path.join(job["model"], "batch.json")) as file:
        return json.load(file)[name]


def memory_bytes(name: str) -> int:
    """VmHWM: the peak of this process; VmRSS: what is resident now."""
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\s+(\d+) kB", file.read())[1]) * 1024


def timed(job: dict, work) -> list[float]:
    """Milliseconds of the repetitions after the warm-up."""
    times = []
    for _ in range(job["warmUp"] + job["repetitions"]):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return times[job["warmUp"] :]


def report(packages: list[str], **fields) -> None:
    fields["peakMemoryBytes"] = memory_bytes("VmHWM")
    fields["versions"] = {name: version(name) for name in packages}
    fields["versions"]["python"] = sys.version.split()[0]
    print(json.dumps(fields), flush=True)
