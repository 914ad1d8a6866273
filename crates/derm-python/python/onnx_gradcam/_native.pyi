import os
from collections.abc import Sequence
from typing import Any, Final, Literal, SupportsIndex, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

# A path, a file's bytes, uint8 [rows, columns, channels] or [rows, columns], or an image of Pillow.
_Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8] | Any
_Class = str | SupportsIndex
_Method = Literal[
    "gradcam",
    "gradcam++",
    "xgradcam",
    "hirescam",
    "layercam",
    "eigencam",
    "eigengradcam",
    "scorecam",
    "ablationcam",
    "saliency",
    "smoothgrad",
    "integrated_gradients",
]
_Scale = Literal["minmax", "max"]
_Size = Literal["input", "upload"]
_Drawing = Literal["overlay", "heatmap", "mask"]
_Colormap = Literal["jet", "viridis", "inferno", "turbo"]

__version__: Final[str]
METHODS: Final[list[str]]
COLORMAPS: Final[list[str]]

class ModelError(ValueError): ...

@final
class Model:
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def provenance(self) -> str: ...
    @property
    def license(self) -> str | None: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def input_shape(self) -> tuple[int, int, int, int]: ...
    @property
    def digest(self) -> str | None: ...
    def labels(self, language: str = "en") -> list[str]: ...

@final
class Prediction:
    @property
    def probabilities(self) -> NDArray[np.float32]: ...
    @property
    def scores(self) -> NDArray[np.float32]: ...
    @property
    def ranking(self) -> list[tuple[str, float]]: ...
    @property
    def class_id(self) -> str: ...
    @property
    def class_index(self) -> int: ...
    @property
    def probability(self) -> float: ...
    @property
    def decision(self) -> str | None: ...
    @property
    def flagged(self) -> list[str]: ...
    @property
    def ood_score(self) -> float | None: ...
    @property
    def uncertain(self) -> bool | None: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def model(self) -> Model: ...
    def as_dict(self) -> dict[str, float]: ...

@final
class Explanation:
    @property
    def heatmap(self) -> NDArray[np.float32]: ...
    @property
    def overlay(self) -> NDArray[np.uint8] | None: ...
    def resized(self, width: int | None = None, height: int | None = None) -> NDArray[np.float32]: ...
    def draw(
        self,
        drawing: _Drawing = "overlay",
        *,
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> NDArray[np.uint8]: ...
    def overlay_on(
        self,
        picture: _Picture,
        *,
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> NDArray[np.uint8]: ...
    def png(
        self,
        drawing: _Drawing = "overlay",
        *,
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> bytes: ...
    def _repr_png_(self) -> bytes: ...
    @property
    def class_id(self) -> str: ...
    @property
    def class_index(self) -> int: ...
    @property
    def probability(self) -> float: ...
    @property
    def prediction(self) -> Prediction: ...
    @property
    def method(self) -> str: ...
    @property
    def layer(self) -> str | None: ...
    @property
    def range(self) -> tuple[float, float]: ...
    @property
    def contrast(self) -> float: ...
    @property
    def layers(self) -> dict[str, tuple[int, ...]]: ...
    @property
    def model(self) -> Model: ...

@final
class Classifier:
    def __new__(
        cls,
        model: str | os.PathLike[str] | None = None,
        *,
        input_shape: Sequence[int] | None = None,
        output: str | None = None,
        threads: int = 1,
        allow_unverified_operators: bool = False,
        max_bytes: int = ...,
        max_pixels: int = ...,
        max_memory: int = ...,
    ) -> Classifier: ...
    def __getnewargs_ex__(self) -> tuple[tuple[str | None], dict[str, Any]]: ...
    @overload
    def predict(
        self,
        pictures: list[_Picture] | tuple[_Picture, ...],
        *,
        tta: int = 1,
        workers: int = 1,
        errors: Literal["raise"] = "raise",
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self,
        pictures: list[_Picture] | tuple[_Picture, ...],
        *,
        tta: int = 1,
        workers: int = 1,
        errors: Literal["return"],
    ) -> list[Prediction | Exception]: ...
    @overload
    def predict(
        self, pictures: _Picture, *, tta: int = 1, workers: int = 1, errors: Literal["raise", "return"] = "raise"
    ) -> Prediction: ...
    def predict_tensor(self, tensor: ArrayLike, *, workers: int = 1) -> Prediction | list[Prediction]: ...
    @overload
    def explain(
        self,
        picture: _Picture,
        method: _Method = "gradcam",
        classes: _Class | None = None,
        layer: _Class | None = None,
        *,
        smooth: int = 1,
        scale: _Scale = "minmax",
        size: _Size = "input",
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> Explanation: ...
    @overload
    def explain(
        self,
        picture: _Picture,
        method: _Method = "gradcam",
        classes: Sequence[_Class] = ...,
        layer: _Class | None = None,
        *,
        smooth: int = 1,
        scale: _Scale = "minmax",
        size: _Size = "input",
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> list[Explanation]: ...
    @overload
    def explain_tensor(
        self,
        tensor: ArrayLike,
        method: _Method = "gradcam",
        classes: _Class | None = None,
        layer: _Class | None = None,
        *,
        scale: _Scale = "minmax",
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> Explanation: ...
    @overload
    def explain_tensor(
        self,
        tensor: ArrayLike,
        method: _Method = "gradcam",
        classes: Sequence[_Class] = ...,
        layer: _Class | None = None,
        *,
        scale: _Scale = "minmax",
        colormap: _Colormap | None = None,
        alpha: float | None = None,
        contour: float | None = None,
    ) -> list[Explanation]: ...
    @property
    def layers(self) -> dict[str, tuple[int, ...]]: ...
    @property
    def model(self) -> Model: ...
    def unload(self) -> bool: ...
    def release_idle(self) -> None: ...

def draft_manifest(model: str | os.PathLike[str]) -> str: ...
@overload
def explain_onnx(
    model: str | os.PathLike[str],
    tensor: ArrayLike,
    method: _Method = "gradcam",
    classes: _Class | None = None,
    layer: _Class | None = None,
    *,
    output: str | None = None,
    scale: _Scale = "minmax",
    threads: int = 1,
    allow_unverified_operators: bool = False,
) -> Explanation: ...
@overload
def explain_onnx(
    model: str | os.PathLike[str],
    tensor: ArrayLike,
    method: _Method = "gradcam",
    classes: Sequence[_Class] = ...,
    layer: _Class | None = None,
    *,
    output: str | None = None,
    scale: _Scale = "minmax",
    threads: int = 1,
    allow_unverified_operators: bool = False,
) -> list[Explanation]: ...
