"""AutoAugment for CIFAR-10: its sub-policies, its magnitudes, and torchvision's public operations that they name.

Source: Cubuk et al. (2019), "AutoAugment: learning augmentation strategies from data"; the policy
found on reduced CIFAR-10.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["SUB_POLICIES", "Step", "apply", "magnitude"]

Step = tuple[str, float, int]
"""An operation, the probability that it is done, and the level of its magnitude, from 0 to 9."""

SUB_POLICIES: tuple[tuple[Step, Step], ...] = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)

_LEVELS = 10
_SHIFT = 150 / 331  # of the side, at the highest level
# Magnitudes at the lowest and the highest level; those of the first group have a sign, which is drawn.
_SIGNED = {
    "ShearX": (0.0, 0.3),
    "ShearY": (0.0, 0.3),
    "TranslateX": (0.0, _SHIFT),
    "TranslateY": (0.0, _SHIFT),
    "Rotate": (0.0, 30.0),
    **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), (0.0, 0.9)),
}
_PLAIN = {"Posterize": (8.0, 4.0), "Solarize": (1.0, 0.0)}


def magnitude(operation: str, level: int, positive: bool, height: int, width: int) -> float:
    """Return how strongly an operation acts on an image of a size, in pixels, degrees, bits or shares; else 0."""
    if operation not in _SIGNED | _PLAIN:
        return 0.0
    first, last = (_SIGNED | _PLAIN)[operation]
    last *= {"TranslateX": width, "TranslateY": height}.get(operation, 1)
    value = torch.linspace(first, last, _LEVELS)[level].item()
    value = float(round(value)) if operation == "Posterize" else value
    return -value if operation in _SIGNED and not positive else value


def apply(images: Tensor, operation: str, magnitude: float) -> Tensor:
    """Return uint8 images [N, 3, H, W] after an operation of that magnitude, see :func:`magnitude`."""
    from torchvision.transforms.v2 import functional as v2

    def shear(axis: int) -> Tensor:
        angles = [0.0, 0.0]
        angles[axis] = math.degrees(math.atan(magnitude))
        return v2.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=angles, center=[0, 0])

    def shift(x: int, y: int) -> Tensor:
        return v2.affine(images, angle=0.0, translate=[x, y], scale=1.0, shear=[0.0, 0.0])

    operations: dict[str, Callable[[], Tensor]] = {
        "ShearX": lambda: shear(0),
        "ShearY": lambda: shear(1),
        "TranslateX": lambda: shift(int(magnitude), 0),
        "TranslateY": lambda: shift(0, int(magnitude)),
        "Rotate": lambda: v2.rotate(images, angle=magnitude),
        "Brightness": lambda: v2.adjust_brightness(images, 1.0 + magnitude),
        "Color": lambda: v2.adjust_saturation(images, 1.0 + magnitude),
        "Contrast": lambda: v2.adjust_contrast(images, 1.0 + magnitude),
        "Sharpness": lambda: v2.adjust_sharpness(images, 1.0 + magnitude),
        "Posterize": lambda: v2.posterize(images, bits=int(magnitude)),
        "Solarize": lambda: v2.solarize(images, threshold=255 * magnitude),
        "AutoContrast": lambda: v2.autocontrast(images),
        "Equalize": lambda: v2.equalize(images),
        "Invert": lambda: v2.invert(images),
    }
    return operations[operation]()
