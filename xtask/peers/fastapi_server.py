"""What many would write instead: FastAPI around an engine, one process.

The model is loaded on first use. Environment: PORT; ENGINE (one of engines.py); MODEL, in that engine's
own format, NCHW; SIDE; ENGINE_THREADS (1).
"""

import io
import os

import fastapi
import numpy as np
import uvicorn
from PIL import Image

import engines

SIDE = int(os.environ["SIDE"])
MODEL = os.environ["MODEL"]
app = fastapi.FastAPI()
run = None


@app.post("/predict/")
async def predict(request: fastapi.Request):
    global run
    run = run or engines.load(os.environ["ENGINE"], MODEL, int(os.environ.get("ENGINE_THREADS", "1")))
    image = Image.open(io.BytesIO(await request.body())).convert("RGB").resize((SIDE, SIDE))
    x = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    logits = run(np.ascontiguousarray(x))
    p = np.exp(logits - logits.max())
    return {"results": [float(value) for value in p / p.sum()]}


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
