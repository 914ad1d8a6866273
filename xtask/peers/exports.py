"""Serves classifiers as their frameworks export them, and compares the answers with onnxruntime's.

    python exports.py derm-server timm|transformers|torchvision|ultralytics|keras [NAME ...] > verdicts.tsv

Each network gets seeded random weights (normalisation and layer scales away from their neutral values, so that no branch is
idle), ten classes, and is exported by its framework's exporter. One line each: verdict, name, largest difference of a probability,
the difference that onnxruntime has to itself without graph optimisations, heatmap ("ok" or why not), message. Verdicts: same,
DIFFERENT, REFUSED, CRASH, unexportable (the framework's exporter failed; not counted).

timm: the two smallest networks of each architecture file with fewer than 40 million weights. transformers: each architecture with a
head for image classification, its default configuration with fewer layers. Needs torch, onnx, onnxscript, onnxruntime, pillow and the
framework.
"""

import collections
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy as np
from PIL import Image

CLASSES = 10
OPSET = 18


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def awaken(model):
    """Moves what is initialised to one or zero away from it: otherwise whole branches multiply by nothing."""
    import torch

    torch.manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.dtype.is_floating_point or (tensor.ndim > 1 and tensor.std() > 1e-4):
            continue
        if name.endswith(("running_var", "weight")) or "gamma" in name or "scale" in name:
            tensor.data.uniform_(0.6, 1.2)
        elif name.endswith(("bias", "running_mean")):
            tensor.data.normal_(0, 0.1)
    return model.eval()


class Networks:
    """Networks of PyTorch: names, and for each a module and the side of its input."""

    layout = "nchw"

    def export(self, name, file):
        import torch

        model, side = self.make(name)
        model = awaken(model)
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, side, side),),
            str(file),
            input_names=["input"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return side


class Timm(Networks):
    def names(self):
        import timm
        import torch

        families = collections.defaultdict(list)
        for name in timm.list_models():
            families[timm.models._registry._model_to_module[name]].append(name)
        for names in families.values():
            sizes = []
            for name in names[:40]:
                try:
                    with torch.device("meta"):
                        model = timm.create_model(name, num_classes=CLASSES)
                except Exception:
                    continue
                sizes.append((sum(p.numel() for p in model.parameters()), name))
            yield from (name for size, name in sorted(sizes)[:2] if size < 40e6)

    def make(self, name):
        import timm

        model = timm.create_model(name, num_classes=CLASSES, exportable=True)
        return model, model.default_cfg["input_size"][-1]


class Torchvision(Networks):
    def names(self):
        yield from [
            "alexnet",
            "convnext_tiny",
            "densenet121",
            "efficientnet_b0",
            "efficientnet_v2_s",
            "googlenet",
            "inception_v3",
            "mnasnet0_5",
            "maxvit_t",
            "mobilenet_v2",
            "mobilenet_v3_small",
            "regnet_y_400mf",
            "resnet18",
            "resnext50_32x4d",
            "shufflenet_v2_x1_0",
            "squeezenet1_1",
            "swin_t",
            "swin_v2_t",
            "vgg11_bn",
            "vit_b_32",
            "wide_resnet50_2",
        ]

    def make(self, name):
        import torchvision

        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        side = 299 if name == "inception_v3" else 224
        model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **more)
        if more:
            model.aux_logits, model.AuxLogits, model.aux1, model.aux2 = False, None, None, None
        return model, side


class Transformers(Networks):
    # Other branches of an architecture's code than its default configuration takes.
    VARIANTS = (
        'resnet:layer_type="basic"',
        "resnet:downsample_in_bottleneck=true",
        'regnet:layer_type="x"',
        'bit:layer_type="bottleneck"',
        'bit:global_padding="SAME"',
        "dinov2:use_swiglu_ffn=true",
        "beit:use_relative_position_bias=true",
        "beit:use_absolute_position_embeddings=true",
        "data2vec-vision:use_relative_position_bias=true",
        'vit:hidden_act="quick_gelu"',
        'convnext:hidden_act="relu"',
        "swin:use_absolute_embeddings=true",
        "swin:qkv_bias=false",
        "mobilenet_v1:tf_padding=false",
        "mobilenet_v2:tf_padding=false",
        "mobilevitv2:width_multiplier=0.5",
        "pvt_v2:linear_attention=true",
    )

    def names(self):
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

        yield from MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
        yield from self.VARIANTS

    def make(self, name):
        import torch
        import transformers

        name, _, options = name.partition(":")
        options = dict(option.split("=") for option in options.split(",") if option)
        options = {key: json.loads(value) for key, value in options.items()}
        config = transformers.AutoConfig.for_model(name, **options)
        config.num_labels = CLASSES
        for key in ("num_hidden_layers", "encoder_layers"):
            if isinstance(getattr(config, key, None), int):
                setattr(config, key, min(4, getattr(config, key)))
        model = transformers.AutoModelForImageClassification.from_config(config)

        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, pixels):
                return self.model(pixels).logits

        side = getattr(getattr(config, "vision_config", config), "image_size", 224)
        return Logits(), side if isinstance(side, int) else side[0]


class Ultralytics(Networks):
    def names(self):
        yield from ("yolov8n-cls", "yolo11n-cls", "yolo26n-cls")

    def make(self, name):
        import torch
        from ultralytics.nn.tasks import ClassificationModel

        model = ClassificationModel(f"{name}.yaml", nc=CLASSES, verbose=False)

        class Probabilities(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, pixels):
                answer = self.model(pixels)
                return (answer[0] if isinstance(answer, tuple) else answer).log()

        return Probabilities(), 224


class Keras:
    layout = "nhwc"

    def names(self):
        yield from [
            "ConvNeXtTiny",
            "DenseNet121",
            "EfficientNetB0",
            "EfficientNetV2B0",
            "EfficientNetV2S",
            "InceptionResNetV2",
            "InceptionV3",
            "MobileNet",
            "MobileNetV2",
            "MobileNetV3Large",
            "MobileNetV3Small",
            "NASNetMobile",
            "ResNet50",
            "ResNet50V2",
            "ResNet101",
            "VGG16",
            "Xception",
        ]

    def export(self, name, file):
        import keras

        keras.utils.set_random_seed(0)
        side = 299 if "Inception" in name or name == "Xception" else 224
        model = getattr(keras.applications, name)(
            weights=None, classes=CLASSES, input_shape=(side, side, 3), classifier_activation=None
        )
        # Keras exports only what was called.
        model(np.zeros((1, side, side, 3), np.float32))
        model.export(str(file), format="onnx", verbose=False)
        return side


def picture(side):
    """Smooth noise of exactly the input's size: nothing is resized."""
    small = np.random.default_rng(side).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.BICUBIC)


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def expected(file, layout, image):
    """Probabilities at a temperature at which the logits differ by some units, that temperature, and the optimisations' part."""
    import onnxruntime

    x = (np.asarray(image, dtype=np.float32) / 255 - 0.5) / 0.25
    x = (x if layout == "nhwc" else x.transpose(2, 0, 1))[None]
    logits = []
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        logits.append(session.run(None, {session.get_inputs()[0].name: x})[0].reshape(-1).astype(np.float64))
    temperature = max(float(logits[0].std()) / 1.5, 1e-6)
    first, second = (softmax(one / temperature) for one in logits)
    return first, temperature, float(np.abs(first - second).max())


def manifest(name, layout, side, temperature):
    classes = "".join(f'[[classes]]\nid = "c{number}"\n' for number in range(CLASSES))
    return (
        f'name = {json.dumps(name)}\noutput = "logits"\ntemperature = {temperature!r}\n[input]\nheight = {side}\nwidth = {side}\n'
        f'layout = "{layout}"\nscale = {1 / 255!r}\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n{classes}'
    )


def served(server, folder, images):
    """A list of (probabilities by class, heatmap: "ok" or why not), one for each picture; or a verdict and the refusal."""
    env = {**os.environ, "MODEL_PATH": str(folder), "RUST_LOG": "warn", "THREADS": "1"}
    check = subprocess.run([server, "--check"], env=env, capture_output=True, text=True, timeout=600)
    if check.returncode:
        kind = "CRASH" if check.returncode < 0 else "REFUSED"
        return kind, " ".join((check.stderr or check.stdout).split())[-300:]
    port = free_port()
    env |= {"PORT": str(port), "HOST": "127.0.0.1"}
    process = subprocess.Popen([server], env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/", timeout=2)
                break
            except OSError:
                time.sleep(0.05)
        answers = []
        for image in images:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict/?gradcam=1", image, {"Content-Type": "image/png"}
            )
            answers.append(json.load(urllib.request.urlopen(request, timeout=300)))
    except OSError as error:
        return "CRASH" if process.poll() is not None else "REFUSED", f"{error} {getattr(error, 'read', bytes)()[:300]}"
    finally:
        process.terminate()
        process.wait()
    return [
        ({one["class"]: one["probability"] / 100 for one in answer["results"]}, answer.get("heatmap_error") or "ok")
        for answer in answers
    ]


def verdict(server, networks, name):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file = folder / "model.onnx"
        try:
            side = networks.export(name, file)
            image = picture(side)
            image.save(folder / "picture.png")
            wanted, temperature, own = expected(file, networks.layout, image)
        except Exception as error:
            return "unexportable", name, "", "", "", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        (folder / "model.toml").write_text(manifest(name, networks.layout, side, temperature))
        answers = served(server, folder, [(folder / "picture.png").read_bytes()])
    if isinstance(answers, tuple):
        return answers[0], name, "", "", "", answers[1]
    found, heatmap = answers[0]
    worst = max(abs(found[f"c{number}"] - wanted[number]) for number in range(CLASSES))
    same = worst <= max(1e-3, 5 * own)
    return "same" if same else "DIFFERENT", name, f"{worst:.2g}", f"{own:.2g}", heatmap, ""


def print_verdicts(verdicts):
    """Prints a line for each, and the counts at the end."""
    count = collections.Counter()
    for line in verdicts:
        count[line[0]] += 1
        count["heatmap"] += line[4] == "ok"
        print(*line, sep="\t", flush=True)
    print("#", dict(count), file=sys.stderr)


def main():
    server, framework, *wanted = sys.argv[1:]
    kinds = {
        "timm": Timm,
        "torchvision": Torchvision,
        "transformers": Transformers,
        "ultralytics": Ultralytics,
        "keras": Keras,
    }
    networks = kinds[framework]()
    print_verdicts(verdict(server, networks, name) for name in wanted or networks.names())


if __name__ == "__main__":
    main()
