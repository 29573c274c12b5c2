"""Transforms of single images: uint8 in, uint8 out, every random number from the generator that is handed in.

A transform is called as ``transform(image, rng)`` with a PIL image or a uint8 array ``(H, W, C)`` or ``(H, W)`` and
returns a uint8 tensor ``(C, H, W)``. It holds no state, so the same image and the same generator give the same tensor.
Scaling to floats and normalization are the data preprocessor's job.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, crop, hflip, resize

from bireal_plugin.errors import InputError

RawImage: TypeAlias = np.ndarray | Image.Image
Transform: TypeAlias = Callable[[RawImage, np.random.Generator], Tensor]


@TRANSFORMS.register_module()
class ImageToTensor8:
    """The image unchanged, as a tensor."""

    def __call__(self, image: RawImage, rng: np.random.Generator) -> Tensor:
        return _tensor(image)


@TRANSFORMS.register_module()
class ShorterSideCropFlip:
    """The training transform of the Bi-Real Net paper: resize the shorter side, crop at random, mirror half of them.

    The aspect ratio is kept and no random area is drawn, unlike torchvision's ``RandomResizedCrop``.

    Args:
        shorter_side: length in px after the antialiased bilinear resize; a pair is a closed interval to draw from
            uniformly. The paper uses 256 for 18 and 34 layers and (256, 480) for 50 and 152.
        crop: side of the square crop in px; all of its positions are equally likely.
        flip: mirror left and right with probability 1/2.

    Raises:
        InputError: lengths that are not positive integers, an interval from high to low, or a crop larger than the
            shorter side.
    """

    def __init__(self, *, shorter_side: int | Sequence[int] = 256, crop: int = 224, flip: bool = True) -> None:
        ends = shorter_side if isinstance(shorter_side, Sequence) else (shorter_side, shorter_side)
        if len(ends) != 2:
            raise InputError(
                f'shorter_side must be one length or a pair (low, high) such as (256, 480), not {shorter_side!r}'
            )
        self.low, self.high = (_checked_length('shorter_side', end) for end in ends)
        if self.low > self.high:
            raise InputError(f'shorter_side must go from low to high, such as (256, 480), not {shorter_side!r}')
        self.crop = _checked_crop(crop, self.low)
        self.flip = flip

    def __call__(self, image: RawImage, rng: np.random.Generator) -> Tensor:
        resized = _resized(image, int(rng.integers(self.low, self.high, endpoint=True)))
        top, left = (int(rng.integers(side - self.crop, endpoint=True)) for side in (resized.height, resized.width))
        cropped = crop(resized, top, left, self.crop, self.crop)
        return _tensor(hflip(cropped) if self.flip and rng.random() < 0.5 else cropped)


@TRANSFORMS.register_module()
class ShorterSideCenterCrop:
    """The test transform of the Bi-Real Net paper: resize the shorter side (px), cut the central square of ``crop`` px.

    Raises:
        InputError: lengths that are not positive integers, or a crop larger than the shorter side.
    """

    def __init__(self, *, shorter_side: int = 256, crop: int = 224) -> None:
        self.shorter_side = _checked_length('shorter_side', shorter_side)
        self.crop = _checked_crop(crop, self.shorter_side)

    def __call__(self, image: RawImage, rng: np.random.Generator) -> Tensor:
        return _tensor(center_crop(_resized(image, self.shorter_side), [self.crop, self.crop]))


@TRANSFORMS.register_module()
class PadCropFlip:
    """The training transform of small images: a shift by up to ``pad`` px each way, zeros moving in, and a flip.

    Args:
        pad: zeros added on each side before a crop of the original size is drawn, in px.
        flip: mirror left and right with probability 1/2. Wrong for digits, which are not symmetric.

    Raises:
        InputError: a negative or fractional ``pad``.
    """

    def __init__(self, *, pad: int = 4, flip: bool = True) -> None:
        if not isinstance(pad, int) or pad < 0:
            raise InputError(
                f'PadCropFlip needs a whole number of pixels >= 0 as pad, for example pad=4, and got {pad!r}'
            )
        self.pad = pad
        self.flip = flip

    def __call__(self, image: RawImage, rng: np.random.Generator) -> Tensor:
        pixels = np.atleast_3d(np.asarray(image))
        height, width, channels = pixels.shape
        # np.pad or torchvision's crop would take longer than all the rest of this function.
        padded = np.zeros((height + 2 * self.pad, width + 2 * self.pad, channels), dtype=np.uint8)
        padded[self.pad : self.pad + height, self.pad : self.pad + width] = pixels
        top, left = rng.integers(2 * self.pad, size=2, endpoint=True).tolist()
        shifted = padded[top : top + height, left : left + width]
        return _tensor(shifted[:, ::-1] if self.flip and rng.random() < 0.5 else shifted)


def _tensor(image: RawImage) -> Tensor:
    """Tensor ``(C, H, W)`` of an image, with memory of its own."""
    return torch.from_numpy(np.array(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1), order='C'))


def _resized(image: RawImage, shorter_side: int) -> Image.Image:
    if not isinstance(image, Image.Image):
        # Pillow knows grey images only without a channel axis.
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    return resize(image, [shorter_side], interpolation=InterpolationMode.BILINEAR, antialias=True)


def _checked_length(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1:
        raise InputError(f'{name} must be a whole number of pixels >= 1, not {value!r}')
    return value


def _checked_crop(crop: int, shorter_side: int) -> int:
    if _checked_length('crop', crop) > shorter_side:
        raise InputError(
            f'a crop of {crop} px does not fit into images whose shorter side is {shorter_side} px: '
            f'lower crop to at most {shorter_side} or raise shorter_side to at least {crop}'
        )
    return crop
