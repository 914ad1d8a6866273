"""One engine as a process that cargo xtask compare tells when to run: engine.py ENGINE MODEL PICTURE SIDE THREADS

PICTURE: float32 values of [1, 3, SIDE, SIDE]. Prints "ready" and the scores; then, for each number N
that it reads, the milliseconds of N inferences.
"""

import sys
import time

import numpy as np

import engines

engine, model, picture, side, threads = sys.argv[1:]
x = np.fromfile(picture, dtype="<f4").reshape(1, 3, int(side), int(side))
run = engines.load(engine, model, int(threads))
print("ready", *run(x), flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        run(x)
        times.append((time.perf_counter() - start) * 1e3)
    print(*times, flush=True)
