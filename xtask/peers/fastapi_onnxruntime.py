"""What many would write instead: FastAPI and onnxruntime, one process, the model loaded on first use.

Environment: PORT, MODEL (an ONNX file, NCHW), SIDE, ARENA (1: onnxruntime's memory arena, its default).
"""

import io
import os

import fastapi
import numpy as np
import onnxruntime
import uvicorn
from PIL import Image

SIDE = int(os.environ["SIDE"])
app = fastapi.FastAPI()
session = None


def load():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = os.environ["ARENA"] == "1"
    return onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])


@app.post("/predict/")
async def predict(request: fastapi.Request):
    global session
    session = session or load()
    image = Image.open(io.BytesIO(await request.body())).convert("RGB").resize((SIDE, SIDE))
    x = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    logits = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x)})[0][0]
    p = np.exp(logits - logits.max())
    return {"results": [float(value) for value in p / p.sum()]}


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
