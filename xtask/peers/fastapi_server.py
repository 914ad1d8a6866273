"""What many would write instead: FastAPI around an engine, one process.

The model is loaded on first use. Environment: PORT; ENGINE (one of engines.py); MODEL, in that engine's
own format, NCHW; SIDE; THREADS (1), inferences at once, each on one thread.
"""

import asyncio
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import fastapi
import numpy as np
import uvicorn
from PIL import Image

import engines

SIDE = int(os.environ["SIDE"])
app = fastapi.FastAPI()
pool = ThreadPoolExecutor(int(os.environ.get("THREADS", "1")))
loading = threading.Lock()
run = None


def classify(body):
    global run
    with loading:
        run = run or engines.load(os.environ["ENGINE"], os.environ["MODEL"], 1)
    image = Image.open(io.BytesIO(body)).convert("RGB").resize((SIDE, SIDE))
    x = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    logits = run(np.ascontiguousarray(x))
    p = np.exp(logits - logits.max())
    return {"results": [float(value) for value in p / p.sum()]}


@app.post("/predict/")
async def predict(request: fastapi.Request):
    return await asyncio.get_running_loop().run_in_executor(pool, classify, await request.body())


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
