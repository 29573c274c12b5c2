"""``Predictor``: disparity or depth of an image, by a network in a checkpoint or an exported file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.depth.camera import Camera, TrainedOn
from bireal_plugin.depth.maps import resized_disparity
from bireal_plugin.depth.networks.network import checked_size, size_warning, trained_size
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES, Session
from bireal_plugin.export.packed.file import PackedSession
from bireal_plugin.export.session_io import Precision, pinned
from bireal_plugin.progress import say
from bireal_plugin.shipping.classification import dataset_meta
from bireal_plugin.training.trained import load_trained
from bireal_plugin.zoo import local_file

ImageSource = str | Path | np.ndarray
PredictDisparity = Callable[[np.ndarray], np.ndarray]


def flip_averaged(predict: PredictDisparity, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the disparities of an image and of its mirror image, mirrored back; and the confidence in it.

    Args:
        predict: image ``(H, W, 3)`` to disparity ``(H, W)`` in px.

    Returns:
        The disparity ``(H, W)``; and ``1 - |a - b| / max(a, b)`` of the two disparities, ``(H, W)`` from 0 to 1, which
        is 0 where one of them is not positive.
    """
    straight = predict(image)
    mirrored = predict(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
    larger, smaller = np.maximum(straight, mirrored), np.minimum(straight, mirrored)
    # 1 - |a - b| / max(a, b) = min(a, b) / max(a, b)
    confidence = np.divide(smaller, larger, out=np.zeros_like(larger), where=smaller > 0)
    return (straight + mirrored) / 2, confidence


class Predictor:
    """``predictor(image)`` is the disparity of an image, ``predictor.metres(image, ...)`` its depth.

    The image is resized to the network's input, and the disparity back, its values by the ratio of the widths. Calls
    from any number of threads are safe. A predictor that was pickled or copied reads its file again.

    Args:
        checkpoint: training checkpoint ``.pth``, exported file of any engine, or ``zoo://NAME``.
        config: of a training checkpoint, by default the one it carries; the other files carry theirs.
        stage: of a config with stages, by default the checkpoint's.
        allow_other_network: see ``load_trained``.
        size: height and width of the network's input, by default those it was trained with.
        real_layers: precision of an OpenVINO model's real layers, 'f32' or 'bf16'.
        threads: of the inference; None leaves it to the engine.

    Raises:
        InputError: the file is missing, unreadable or no network for images of three channels.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        config: str | Path | Config | None = None,
        stage: str | None = None,
        allow_other_network: bool = False,
        size: Sequence[int] | None = None,
        real_layers: Precision = 'f32',
        threads: int | None = None,
    ) -> None:
        self.source = str(checkpoint)
        choices: dict[str, Any] = dict(config=config, stage=stage, allow_other_network=allow_other_network)
        running: dict[str, Any] = dict(size=size, real_layers=real_layers, threads=threads)
        self.again = partial(Predictor, checkpoint, **choices, **running)
        checkpoint = local_file(checkpoint)
        if threads is not None and threads < 1:
            raise InputError(f'an inference has at least one thread, not {threads}')
        suffix = Path(checkpoint).suffix
        if real_layers != 'f32' and suffix != '.xml':
            raise InputError(f'real layers in {real_layers} are for OpenVINO models (.xml), not for {checkpoint}')
        if all(suffix != engine.suffix for engine in ENGINES.values()):
            self.network = _trained(checkpoint, config, threads, stage=stage, allow_other_network=allow_other_network)
        elif config is not None or stage is not None or allow_other_network:
            raise InputError(
                f'{checkpoint} carries its own config; leave --config, --stage and --allow-other-network out'
            )
        else:
            self.network = _exported(checkpoint, real_layers, threads)
        if len(self.network.mean) not in (1, 3):
            raise InputError(f'{checkpoint} normalises {len(self.network.mean)} channels; a depth network sees RGB')
        own = self.network.size
        chosen = own if size is None else checked_size(size)
        if chosen is None:
            raise InputError(f'{self.source} does not say the size of its images; give it with --size H W')
        self.size: tuple[int, int] = chosen
        if self.size != own and not self.network.any_size:
            raise InputError(f'{self.source} was exported for {own}; export it again with --size for {size}')
        self.trained_on = self.network.trained_on
        warn_of_size(self.size, own if self.trained_on is None else self.trained_on.size, self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.again, ()

    def __call__(self, image: ImageSource) -> np.ndarray:
        """Disparity ``(H, W)`` float32 in px of the image's own width.

        Args:
            image: RGB uint8 ``(H, W, 3)``, or a file, which is turned upright as a viewer shows it.

        Raises:
            InputError: it is no such image, or the network gives no finite disparity of it.
        """
        if isinstance(image, (str, Path)):
            image = np.asarray(read_rgb(Path(image)))
        return resized_disparity(self.run(self.prepared(image)), image.shape[:2])

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """The network's input ``(1, 3, h, w)`` float32 of an image RGB uint8 ``(H, W, 3)``: resized and normalised.

        Raises:
            InputError: it is no such image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise InputError(f'an image is uint8 of shape (H, W, 3), not {image.dtype} of shape {image.shape}')
        height, width = self.size
        shrinks = image.shape[0] >= height and image.shape[1] >= width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # the area rule repeats pixels where it grows
        pixels = cv2.resize(image, (width, height), interpolation=interpolation).astype(np.float32)
        return np.ascontiguousarray(((pixels - self.network.mean) / self.network.std).transpose(2, 0, 1)[None])

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Disparity ``(h, w)`` float32 in px of its own width, of what ``prepared`` gives.

        Raises:
            InputError: the network gives no finite disparity of it.
        """
        outputs, expected = self.network.run(batch), (1, 1, *self.size)
        if len(outputs) != 1 or outputs[0].shape != expected:
            found = ', '.join(str(output.shape) for output in outputs)
            raise InputError(f'{self.source} is no depth network: it makes {found} of an image, not {expected}')
        if not np.isfinite(outputs[0]).all():
            raise InputError(f'{self.source} predicts disparities that are not finite; take an earlier checkpoint')
        return outputs[0][0, 0]

    def metres(self, image: ImageSource, *, focal: float, baseline: float | None = None) -> np.ndarray:
        """Depth ``(H, W)`` float32 in m along the camera's axis, infinite where the disparity is not positive.

        Args:
            image: see ``__call__``.
            focal: focal length of the image's camera, in px of the image's own width.
            baseline: distance in m of the two cameras that the network was trained with (0.5327 for KITTI), by default
                as its file says.

        Raises:
            InputError: see ``__call__``; or a focal length or baseline that is not positive, or not known.
        """
        baseline = self.baseline if baseline is None else baseline
        disparity = self(image)
        width = disparity.shape[1]
        return Camera(focal, width, baseline, source='focal and baseline').depth(disparity, width=width)

    @property
    def baseline(self) -> float:
        """Baseline of the disparities in m, that of the training pairs.

        Raises:
            InputError: the file does not say it, or the training pairs had several.
        """
        return self._trained_on().baseline

    def camera(self, camera: Camera) -> Camera:
        """The camera of an image with the baseline of the network's disparities; see ``TrainedOn``.

        Raises:
            InputError: see ``baseline``.
        """
        return self._trained_on().seen_by(camera)

    def _trained_on(self) -> TrainedOn:
        if self.trained_on is None:
            raise InputError(f'{self.source} does not say the baseline of its training pairs; give --baseline METRES')
        return self.trained_on


class DisparityNetwork(NamedTuple):
    """A loaded network and the images that it takes."""

    run: Callable[[np.ndarray], list[np.ndarray]]  # normalised images (1, 3, H, W) float32 to the outputs
    size: tuple[int, int] | None  # height and width that it was trained with; None where the file does not say
    mean: np.ndarray  # per channel, of the 0..255 image, and so is std
    std: np.ndarray
    trained_on: TrainedOn | None  # None where the file does not say
    any_size: bool = True  # whether it runs on other sizes too


def _trained(
    checkpoint: str | Path, config: str | Path | Config | None, threads: int | None, **options: Any
) -> DisparityNetwork:
    model, loaded = load_trained(config, checkpoint, **options)
    one_at_a_time = Lock()

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        # The number of PyTorch's threads is one for all of a process.
        with nullcontext() if threads is None else one_at_a_time, pinned(threads):
            output = model(torch.from_numpy(batch), mode='tensor')
        return [tensor.numpy() for tensor in (output if isinstance(output, (list, tuple)) else [output])]

    trained_on = TrainedOn.of(dataset_meta(checkpoint), str(checkpoint))
    size = trained_size(loaded) if trained_on is None else trained_on.size
    return DisparityNetwork(run, size, *statistics(model, checkpoint), trained_on)


def _exported(path: str | Path, real_layers: Precision, threads: int | None) -> DisparityNetwork:
    session: Any = Session(path, threads=threads, **({} if real_layers == 'f32' else dict(real_layers=real_layers)))
    packed = isinstance(session, PackedSession)
    try:
        config = json.loads(session.metadata['config'])
        mean, std = (np.asarray(config[key], np.float32) for key in ('mean', 'std'))
        size = checked_size(config['size'])
        trained_on = TrainedOn.of(config.get('trained_on') or {}, str(path))
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        if not packed:
            text = f'{path} does not say how its images are made; export it with bireal depth export'
            raise InputError(text) from error
        model = session.model
        return DisparityNetwork(session, getattr(model, 'size', None), *statistics(model, path), None)
    return DisparityNetwork(session, size, mean, std, trained_on, any_size=packed)


def warn_of_size(size: Sequence[int], trained: Sequence[int] | None, source: str | Path) -> None:
    """Say on stderr what ``size_warning`` says."""
    if (text := size_warning(size, trained, source)) is not None:
        say(f'warning: {text}', file=sys.stderr)


def statistics(model: Any, source: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel by which a network's preprocessor normalises.

    Raises:
        InputError: it has none.
    """
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    if not hasattr(preprocessor, 'mean') or not hasattr(preprocessor, 'std'):
        raise InputError(f'{source}: the network has no data_preprocessor with mean and std, so it is no depth network')
    return preprocessor.mean.flatten().numpy(), preprocessor.std.flatten().numpy()
