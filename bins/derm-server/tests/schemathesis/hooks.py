"""How schemathesis makes what the document leaves to formats: image files, names of models, classes and layers.

Methods and lists that take many inferences are left out: other tests have them.
"""

import base64
import math
import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary

NAMES = ["baseline.jpg", "progressive.jpg", "palette.png", "alpha.png", "lossy.webp", "rgb.bmp", "rgb.tiff"]
PICTURES = [(Path(os.environ["PICTURES"]) / name).read_bytes() for name in NAMES]
TEXTS = [base64.b64encode(picture).decode() for picture in PICTURES]
CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]

schemathesis.openapi.format("binary", st.sampled_from(PICTURES).map(Binary))
schemathesis.openapi.format(
    "byte", st.sampled_from(TEXTS) | st.sampled_from(TEXTS).map("data:image/png;base64,".__add__)
)
schemathesis.openapi.format("class-ids", st.lists(st.sampled_from(CLASSES), min_size=1, max_size=2).map(",".join))
schemathesis.openapi.format("class-id", st.sampled_from(CLASSES))
schemathesis.openapi.format("model", st.just("derm-lite0"))
schemathesis.openapi.format("model-version", st.just(os.environ["MODEL_VERSION"]))
schemathesis.openapi.format("graph-input", st.just("input"))
schemathesis.openapi.format("layer", st.sampled_from(["auto", "0", "1"]))

# The length of the longest list, which is a minute of inferences.
MOST_IMAGES = 128
# What the bundled model's graph reads.
SHAPE = (1, 3, 224, 224)
QUICK = ["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "eigencam", "eigengradcam"]


# Parameters that flip and rotate a picture.
TURNS = ["tta", "smooth"]
# The last index of a class and of a layer of the bundled model.
LAST = {"class": 6, "layer": 57}


def objects(value):
    """Each object in a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from objects(inner)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Bounds indices, and leaves out slow methods and the longest lists of images."""
    for found in objects(raw_schema):
        if found.get("maxItems") == MOST_IMAGES:
            del found["maxItems"]
        if "scorecam" in found.get("enum", []):
            found["enum"] = QUICK
        for name, last in LAST.items():
            in_json = (found.get("properties") or {}).get(name, {}), found.get(f"json.{name}", {})
            for one in (one for schema in in_json for one in schema.get("anyOf", [])):
                if one.get("type") == "integer":
                    one["maximum"] = last


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes of a valid case what no JSON Schema can say: an input's shape counts its data, a tensor is not turned
    (`tta`, `smooth`), and bytes of JSON are those of the body."""
    if not case.path.endswith("/infer") or case.meta is None or case.meta.generation.mode.value != "positive":
        return
    header = "Inference-Header-Content-Length"
    if not isinstance(case.body, dict):
        case.headers[header] = "0"
        return
    case.headers.pop(header, None)
    for tensor in case.body["inputs"]:
        if tensor["datatype"] == "BYTES":
            tensor["shape"] = [len(tensor["data"])] + [1] * (len(tensor["shape"]) - 1)
        else:
            tensor.update(datatype="FP32", shape=list(SHAPE), data=[0.25] * math.prod(SHAPE))
            for name in TURNS:
                (case.body.get("parameters") or {}).pop(name, None)


@schemathesis.hook
def filter_query(context, query):
    """Leaves out objects as values: a query has none, and an empty one is sent as nothing, which is valid."""
    return not any(isinstance(value, dict) for value in (query or {}).values())
