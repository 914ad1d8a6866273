"""Pictures a second, forward and backward, Lite0 in batches of 64: by PyTorch alone, or with what fast.py has.

venv/bin/python speed.py [operators] [memory]
"""

import statistics
import sys
import time

import torch

import fast
import network

if "memory" in sys.argv:
    fast.keep_memory()
if "operators" not in sys.argv:
    fast.usable = lambda: False
model = network.Classifier("lite0", 7).train()
for side in (192, 224):
    x = network.normalise(torch.randint(0, 255, (64, side, side, 3), dtype=torch.uint8))
    seconds = []
    for _ in range(6):
        began = time.time()
        model(x).logsumexp(1).mean().backward()
        seconds.append(time.time() - began)
    print(f"{side} px: {64 / statistics.median(seconds[1:]):.1f}")
