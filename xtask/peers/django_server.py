"""The original application's stack: Django and TensorFlow, EfficientNetV2-S at 300x300, Grad-CAM.

Written anew from what the original does: TensorFlow comes with the process, the model is loaded on
first use; each prediction cleans up after itself (`gc.collect`); a heatmap (`gradcam=true`) is a
second network up to the last feature map, differentiated on a gradient tape. The weights are random.
Environment: PORT; MODEL, a `.keras` file, made where it is missing.
"""

import gc
import io
import os
import pathlib
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from PIL import Image

SIDE, CLASSES = 300, 7
MODEL = os.environ["MODEL"]
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="measurement")
model = None


def load():
    global model
    if model is None:
        model = tf.keras.models.load_model(MODEL, compile=False)
    return model


def heatmap(x, index):
    last = next(layer for layer in reversed(model.layers) if len(layer.output.shape) == 4)
    network = tf.keras.Model(model.inputs, [last.output, model.output])
    with tf.GradientTape() as tape:
        features, scores = network(x)
        score = scores[:, index]
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(0, 1, 2))
    map = tf.nn.relu(tf.reduce_sum(features[0] * weights, axis=-1)).numpy()
    return map / max(float(map.max()), 1e-9)


def predict(request):
    image = Image.open(io.BytesIO(request.body)).convert("RGB").resize((SIDE, SIDE))
    x = np.asarray(image, dtype=np.float32)[None]
    p = load().predict(x, verbose=0)[0]
    answer = {"results": [float(value) for value in p], "heatmap": None}
    if request.GET.get("gradcam") == "true":
        answer["heatmap"] = heatmap(tf.constant(x), int(p.argmax())).tolist()
    del x, image
    gc.collect()
    return JsonResponse(answer)


predict.csrf_exempt = True
urlpatterns = [path("predict/", predict)]


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


if not pathlib.Path(MODEL).exists():
    # In a process of its own, which takes what it needed with it.
    if os.fork() == 0:
        tf.keras.applications.EfficientNetV2S(weights=None, input_shape=(SIDE, SIDE, 3), classes=CLASSES).save(MODEL)
        sys.exit(0)
    os.wait()
make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), handler_class=Quiet).serve_forever()
