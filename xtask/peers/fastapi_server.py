"""What many would write instead: FastAPI around an engine, one process, one thread of inference.

The model is loaded on first use. Environment: PORT; ENGINE (one of ENGINES); MODEL, in that engine's
own format (`convert` in xtask/src/memtest/peers.rs makes it), NCHW; SIDE.
"""

import io
import os

import fastapi
import numpy as np
import uvicorn
from PIL import Image

SIDE = int(os.environ["SIDE"])
MODEL = os.environ["MODEL"]
app = fastapi.FastAPI()
run = None


def onnxruntime(arena=True):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0][0]


def ncnn():
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    net.load_param(MODEL + ".ncnn.param")
    net.load_model(MODEL + ".ncnn.bin")

    def run(x):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]))
        return np.array(extractor.extract("out0")[1])

    return run


def mnn():
    import MNN.expr as expr
    import MNN.nn as nn

    config = {"precision": "high", "backend": "CPU", "numThread": 1}
    net = nn.load_module_from_file(MODEL, [], [], runtime_manager=nn.create_runtime_manager((config,)))

    def run(x):
        input = expr.placeholder(list(x.shape), expr.NCHW)
        input.write(x)
        return expr.convert(net.forward([input])[0], expr.NCHW).read()[0]

    return run


ENGINES = {
    "onnxruntime": onnxruntime,
    "onnxruntime, no arena": lambda: onnxruntime(arena=False),
    "ncnn": ncnn,
    "MNN": mnn,
}


@app.post("/predict/")
async def predict(request: fastapi.Request):
    global run
    run = run or ENGINES[os.environ["ENGINE"]]()
    image = Image.open(io.BytesIO(await request.body())).convert("RGB").resize((SIDE, SIDE))
    x = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    logits = run(np.ascontiguousarray(x))
    p = np.exp(logits - logits.max())
    return {"results": [float(value) for value in p / p.sum()]}


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
