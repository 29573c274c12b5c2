"""The depth network as a packed file holds it: with the size of the images that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS

from bireal_plugin.depth.networks.network import DepthNetwork
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.config import allow_in_packed_files

LARGEST = 8192  # px; a file may not make its reader allocate more
allow_in_packed_files('SizedDepthNetwork', networks=('backbone', 'head', 'loss', 'data_preprocessor'))


@MODELS.register_module()
class SizedDepthNetwork(DepthNetwork):
    """A ``DepthNetwork`` that knows ``size``; it has the same weights and computes the same.

    A network takes images of any size, but its disparities are right for those it was trained with alone.

    Args:
        size: height and width in px. The other arguments are DepthNetwork's.
    """

    def __init__(self, *args: Any, size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.size = checked_size(size)


def checked_size(size: Sequence[int]) -> tuple[int, int]:
    """Height and width of a network's input.

    Raises:
        InputError: they are not two whole numbers from 32 to 8192.
    """
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise InputError(f"the size of a network's images is height and width, not {size!r}")
    if min(size) < 32:
        raise InputError(f'a network sees images of at least 32 x 32, not {size[0]} x {size[1]}')
    if max(size) > LARGEST:
        raise InputError(f'a network sees images of at most {LARGEST} x {LARGEST}, not {size[0]} x {size[1]}')
    return size[0], size[1]
