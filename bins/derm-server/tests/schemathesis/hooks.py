"""How schemathesis makes what the document leaves to formats: image files, ids of classes, layers.

Methods that take many inferences are left out: other tests have them.
"""

import base64
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
schemathesis.openapi.format("model", st.just("derm-lite0"))
schemathesis.openapi.format("layer", st.sampled_from(["auto", "0", "1"]))

QUICK = ["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "eigencam", "eigengradcam"]


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
    """Bounds indices, and leaves out slow methods."""
    for found in objects(raw_schema):
        if "scorecam" in found.get("enum", []):
            found["enum"] = QUICK
        for name, last in LAST.items():
            for one in (found.get("properties") or {}).get(name, {}).get("anyOf", []):
                if one.get("type") == "integer":
                    one["maximum"] = last


@schemathesis.hook
def filter_case(context, case):
    """Leaves out layers beside `gradcam` off: only a heatmap looks for its layer, so a wrong one is not noticed."""
    given = case.body if isinstance(case.body, dict) else {}
    is_off = given.get("gradcam") in (False, 0, "false", "0", "no", "off")
    return not is_off or "layer" not in given
