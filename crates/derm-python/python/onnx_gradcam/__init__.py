"""Grad-CAM for ONNX models: heatmaps and predictions without PyTorch, TensorFlow or onnxruntime.

    >>> import onnx_gradcam
    >>> explanation = onnx_gradcam.explain_onnx("model.onnx", tensor)  # [1, 3, 224, 224]
    >>> explanation.heatmap                                            # [rows, columns], 0..1
    >>> explanation.resized()                                          # [224, 224]

A `Classifier` keeps a model, and takes pictures where the model has a manifest.
"""

from ._native import (
    COLORMAPS,
    METHODS,
    Classifier,
    Explanation,
    Model,
    ModelError,
    Prediction,
    __version__,
    draft_manifest,
    explain_onnx,
)

__all__ = [
    "COLORMAPS",
    "METHODS",
    "Classifier",
    "Explanation",
    "Model",
    "ModelError",
    "Prediction",
    "__version__",
    "draft_manifest",
    "explain_onnx",
]
