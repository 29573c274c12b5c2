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
        return _channels_first(_pixels(image))


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
        self.low, self.high = _interval(shorter_side)
        self.crop = _checked_crop(crop, self.low)
        self.flip = flip

    def __call__(self, image: RawImage, rng: np.random.Generator) -> Tensor:
        resized = _resized(image, int(rng.integers(self.low, self.high, endpoint=True)))
        top = int(rng.integers(resized.height - self.crop, endpoint=True))
        left = int(rng.integers(resized.width - self.crop, endpoint=True))
        cropped = crop(resized, top, left, self.crop, self.crop)
        if self.flip and rng.random() < 0.5:
            cropped = hflip(cropped)
        return _channels_first(_pixels(cropped))


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
        return _channels_first(_pixels(center_crop(_resized(image, self.shorter_side), [self.crop, self.crop])))


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
        pixels = _pixels(image)
        height, width, channels = pixels.shape
        # np.pad would take longer than all the rest of this function.
        padded = np.zeros((height + 2 * self.pad, width + 2 * self.pad, channels), dtype=np.uint8)
        padded[self.pad : self.pad + height, self.pad : self.pad + width] = pixels
        top, left = rng.integers(2 * self.pad, size=2, endpoint=True).tolist()
        cropped = padded[top : top + height, left : left + width]
        if self.flip and rng.random() < 0.5:
            cropped = cropped[:, ::-1]
        return _channels_first(cropped)


def _pixels(image: RawImage) -> np.ndarray:
    """View or decode an image as ``(H, W, C)``, uint8."""
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _channels_first(pixels: np.ndarray) -> Tensor:
    """Copy ``(H, W, C)`` into a tensor ``(C, H, W)`` that shares no memory with the dataset."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order='C'))


def _resized(image: RawImage, shorter_side: int) -> Image.Image:
    if not isinstance(image, Image.Image):
        # Pillow knows grey images only without a channel axis.
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    return resize(image, [shorter_side], interpolation=InterpolationMode.BILINEAR, antialias=True)


def _interval(shorter_side: int | Sequence[int]) -> tuple[int, int]:
    ends = shorter_side if isinstance(shorter_side, Sequence) else (shorter_side, shorter_side)
    if len(ends) != 2:
        raise InputError(
            f'shorter_side must be one length or a pair (low, high) such as (256, 480), not {shorter_side!r}'
        )
    low, high = (_checked_length('shorter_side', end) for end in ends)
    if low > high:
        raise InputError(f'shorter_side must go from low to high, such as (256, 480), not {shorter_side!r}')
    return low, high


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
