"""Throughput of a Ray worker beside one process alone: `python ray_throughput.py FOLDER [WORKERS]`.

Each classifies the pictures of the folder one by one, on one thread. A worker's time is that from its first batch to its last,
waiting for data included; wall-clock time, and CPU time of its process during batches.
"""

import os
import pathlib
import sys
import time

import onnx_gradcam
import ray

BATCH = 64


class Classify:
    def __init__(self, picture):
        self.classifier = onnx_gradcam.Classifier()
        self.classifier.predict(picture)  # loads the model

    def __call__(self, batch):
        start, cpu = time.perf_counter(), time.process_time()
        self.classifier.predict(list(batch["bytes"]))
        row = [os.getpid(), start, time.perf_counter(), time.process_time() - cpu, len(batch["bytes"])]
        return {name: [value] for name, value in zip(["worker", "start", "end", "cpu", "count"], row)}


def rates(rows):
    """Pictures a second of one worker, by the wall clock and by CPU time."""
    count = sum(row["count"] for row in rows)
    wall = max(row["end"] for row in rows) - min(row["start"] for row in rows)
    return count / wall, count / sum(row["cpu"] for row in rows)


def alone(paths):
    """One process: reads and predicts batch by batch."""
    worker = Classify(paths[0].read_bytes())
    rows = []
    for start in range(0, len(paths), BATCH):
        found = worker({"bytes": [path.read_bytes() for path in paths[start : start + BATCH]]})
        rows.append({name: values[0] for name, values in found.items()})
    return rates(rows)


def on_ray(paths, workers):
    pictures = ray.data.read_binary_files([str(path) for path in paths])
    pool = ray.data.ActorPoolStrategy(size=workers)
    first = [paths[0].read_bytes()]
    found = pictures.map_batches(Classify, fn_constructor_args=first, batch_size=BATCH, compute=pool, num_cpus=1)
    rows = found.take_all()
    return [rates([row for row in rows if row["worker"] == one]) for one in {row["worker"] for row in rows}]


def main():
    folder, workers = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    paths = sorted(pathlib.Path(folder).iterdir())
    ray.init(num_cpus=workers + 2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    for _ in range(3):
        one, several = alone(paths), on_ray(paths, workers)
        for name, which in ("wall", 0), ("CPU", 1):
            each = [worker[which] for worker in several]
            share = sum(each) / len(each) / one[which]
            shown = ", ".join(f"{rate:.1f}" for rate in each)
            print(f"{name}: alone {one[which]:.1f} pictures/s, workers {shown}, each {share:.2f} of it", flush=True)


if __name__ == "__main__":
    main()
