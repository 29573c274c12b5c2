"""DepthNetwork: backbone, head and loss as an mmengine model; one image in, one disparity map out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from bireal_plugin.depth.losses import enlarged
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.config import allow_in_packed_files
from bireal_plugin.folding.fold import fold_
from bireal_plugin.models.classifier import ImagePreprocessor

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LARGEST = 8192  # px; a packed file may not make its reader allocate more


@MODELS.register_module()
class StereoPreprocessor(ImagePreprocessor):
    """Moves a batch to the device; normalises the network's inputs there, and scales the loss's images to 0..1.

    Args:
        mean, std: per channel RGB, in the units of the 0..255 image.
        channels_last: as for ``ImagePreprocessor``.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__(mean, std, channels_last=channels_last)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``dict(left=uint8 (N, 3, H, W), right=likewise, ...)`` to the network's arguments; other keys stay.

        ``inputs`` and ``right_inputs`` are normalised, ``left`` and ``right`` in 0..1. A batch with ``inputs`` instead
        of ``left`` holds single images, which are normalised alone.
        """
        if 'left' not in data:
            return super().forward(data, training)
        data = self.cast_data(data)
        for side, inputs in (('left', 'inputs'), ('right', 'right_inputs')):
            if side in data:
                image = data[side].float()
                data = {**data, inputs: self.normalised(image), side: image / 255}
        return data


# The second name is that of packed files written before DepthNetwork had a size of its own; they must stay readable.
NAMES = ('DepthNetwork', 'SizedDepthNetwork')
allow_in_packed_files(*NAMES, networks=('backbone', 'head', 'loss', 'data_preprocessor'))
allow_in_packed_files('FCNSkipHead', 'UNetHead', 'GargLoss', 'PhotometricLoss', 'StereoPreprocessor')


@MODELS.register_module(name=list(NAMES))
class DepthNetwork(BaseModel):
    """Disparity of the left image of a stereo pair, learned from pairs without depth.

    Only training uses the right image; an exported network maps one image to one disparity.

    Args:
        backbone: config or module with outputs of strides 4 to 32, fine to coarse, such as ``BiRealResNet``.
        head: config or module; ``in_channels`` is taken from the backbone unless it is there.
        loss: config or module: ``GargLoss`` or ``PhotometricLoss``.
        data_preprocessor: config, see ``StereoPreprocessor``.
        size: height and width in px of the images it was trained with, None where nobody says. Images of any size can
            be predicted, but disparities are right for this one alone; exported files hold it.
    """

    deploy = False
    runs_whole = True  # benchmarks time all of it; of other networks that have a backbone, they time that

    def __init__(
        self,
        backbone: Mapping[str, Any] | nn.Module,
        head: Mapping[str, Any] | nn.Module,
        loss: Mapping[str, Any] | nn.Module,
        *,
        data_preprocessor: Mapping[str, Any] | nn.Module | None = None,
        size: Sequence[int] | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='StereoPreprocessor'), init_cfg)
        self.backbone = MODELS.build(backbone) if isinstance(backbone, Mapping) else backbone
        if isinstance(head, Mapping) and 'in_channels' not in head:
            if not hasattr(self.backbone, 'feature_info'):
                name = type(self.backbone).__name__
                raise InputError(f'{name} has no feature_info of its channels; give in_channels in the head')
            told: Any = self.backbone
            head = dict(head, in_channels=[told.feature_info[index]['num_chs'] for index in told.out_indices])
        self.head = MODELS.build(head) if isinstance(head, Mapping) else head
        self.loss = MODELS.build(loss) if isinstance(loss, Mapping) else loss
        self.size = None if size is None else checked_size(size)

    def switch_to_deploy(self) -> None:
        """Fold the whole network in place for inference; a second call does nothing.

        ``deploy`` is True from then on, and nothing can be trained any more.

        Raises:
            InputError: the network is not binary yet; nothing is changed.
        """
        if not self.deploy:
            fold_(self)
            self.deploy = True

    def disparities(self, inputs: Tensor) -> list[Tensor]:
        """Normalised images ``(N, 3, H, W)`` to the head's disparities, finest first, in px of W."""
        return self.head(self.backbone(inputs), inputs.shape[-2:])

    def forward(
        self,
        inputs: Tensor,
        left: Tensor | None = None,
        right: Tensor | None = None,
        right_inputs: Tensor | None = None,
        mode: str = 'tensor',
        **truth: Any,
    ) -> Any:
        """mmengine's three modes.

        * 'tensor': the disparity ``(N, 1, H, W)`` of the images, in px of their width W.
        * 'loss': a dict of loss terms; needs the pair, ``left`` and ``right`` ``(N, 3, H, W)`` in 0..1.
        * 'predict': one ``dict(disparity=(1, H, W))`` per image, on the CPU.

        Args:
            inputs, right_inputs: normalised left and right images ``(N, 3, H, W)``.
            truth: the rest of a batch (focal, baseline, depth, ...), which evaluation reads and the network does not.
        """
        if mode == 'loss':
            if left is None or right is None or right_inputs is None:
                raise InputError("DepthNetwork needs a stereo pair in mode 'loss': batches with left and right")
            views = [inputs, right_inputs.flip(-1)] if self.loss.needs_right_disparity else [inputs]
            # In float32 under autocast: fp16 has no digits left for x - d at x = 600.
            disparities = [[d.float() for d in self.disparities(view)] for view in views]
            return self.loss(disparities[0], left, right, *disparities[1:])
        disparity = enlarged(self.disparities(inputs)[0], inputs)
        if mode == 'tensor':
            return disparity
        if mode == 'predict':
            return [dict(disparity=one) for one in disparity.float().cpu()]
        raise InputError(f"mode is 'loss', 'predict' or 'tensor', not {mode!r}")


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


def size_warning(size: Sequence[int], trained: Sequence[int] | None, source: object) -> str | None:
    """Sentence on a network that sees images of another ``size`` (H, W) than it was ``trained`` with; else None."""
    if trained is None or tuple(size) == tuple(trained):
        return None
    return (
        f'{source} was trained at {trained[0]} x {trained[1]} and sees images of {size[0]} x {size[1]}: its '
        'disparities are right for the size of its training alone, and much worse at others'
    )


def trained_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the images of a config's datasets, training before test; None where no dataset says it."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        size = ((config.get(name) or {}).get('dataset') or {}).get('size')
        if size is not None:
            return checked_size(size)
    return None
