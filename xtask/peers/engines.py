"""Inference engines behind one call: `load(engine, model, threads)` gives a function from a
[1, 3, side, side] float32 array to the list of scores. The model is in that engine's own format
(`convert` in xtask/src/peers.rs makes it).
"""

import numpy as np


def onnxruntime(model, threads, arena=True):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0][0]


def openvino(model, threads):
    import openvino

    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", config)
    request = compiled.create_infer_request()
    return lambda x: request.infer([x])[compiled.output(0)][0]


def ncnn(model, threads):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.load_param(model + ".ncnn.param")
    net.load_model(model + ".ncnn.bin")

    def run(x):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]))
        return np.array(extractor.extract("out0")[1])

    return run


def mnn(model, threads):
    import MNN.expr as expr
    import MNN.nn as nn

    config = {"precision": "high", "backend": "CPU", "numThread": threads}
    net = nn.load_module_from_file(model, [], [], runtime_manager=nn.create_runtime_manager((config,)))

    def run(x):
        input = expr.placeholder(list(x.shape), expr.NCHW)
        input.write(x)
        return expr.convert(net.forward([input])[0], expr.NCHW).read()[0]

    return run


ENGINES = {
    "onnxruntime": onnxruntime,
    "onnxruntime, no arena": lambda model, threads: onnxruntime(model, threads, arena=False),
    "OpenVINO": openvino,
    "ncnn": ncnn,
    "MNN": mnn,
}


def load(engine, model, threads):
    return ENGINES[engine](model, threads)
