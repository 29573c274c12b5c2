"""BiRealClassifier: backbone, global average pool and a real linear layer, as an mmengine model; its accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import METRICS, MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold_
from bireal_plugin.models.resnet import BiRealResNet


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device and normalises uint8 images there: ``(image - mean) / std``.

    Args:
        mean, std: per channel, in the units of the 0..255 image.
        channels_last: lay batches out as NHWC, which convolutions keep up to the last one. A CPU computes those faster.
    """

    def __init__(
        self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (255.0,), *, channels_last: bool = False
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if len(mean) != len(std) or any(s <= 0 for s in std):
            raise InputError(f'mean={tuple(mean)} and std={tuple(std)} must have one entry per channel, every std > 0')
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``dict(inputs=uint8 (N, C, H, W), labels=int64 (N,))`` to the same with float32 inputs."""
        data = self.cast_data(data)
        return {**data, 'inputs': self.normalised(data['inputs'].float())}

    def normalised(self, images: Tensor) -> Tensor:
        """``(images - mean) / std`` in the memory format."""
        return ((images - self.mean) / self.std).contiguous(memory_format=self.memory_format)


@MODELS.register_module()
class BiRealClassifier(BaseModel):
    """Image classifier on the last feature map of a backbone; the linear layer stays real.

    Args:
        backbone: config or module; its last output ``(N, C, H, W)`` is pooled.
        num_classes: number of classes.
        label_smoothing: of the cross entropy.
        drop_rate: dropout before the linear layer.
        data_preprocessor: config, see ``ImagePreprocessor``.
    """

    deploy = False

    def __init__(
        self,
        backbone: Mapping[str, Any] | nn.Module,
        num_classes: int,
        *,
        label_smoothing: float = 0.0,
        drop_rate: float = 0.0,
        data_preprocessor: Mapping[str, Any] | nn.Module | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='ImagePreprocessor'), init_cfg)
        self.backbone = MODELS.build(backbone) if isinstance(backbone, Mapping) else backbone
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(int(self.backbone.num_features), num_classes)  # type: ignore[arg-type]
        self.label_smoothing = label_smoothing

    def switch_to_deploy(self, engine: str = 'torch') -> None:
        """Fold the backbone in place for inference, whatever its class; a second call changes the engine alone.

        ``deploy`` is True afterwards. The linear layer can still be trained.

        Args:
            engine: of a ``BiRealResNet``, see there.

        Raises:
            InputError: the backbone is not binary yet, or has no such engine; nothing is changed.
        """
        if isinstance(self.backbone, BiRealResNet):
            self.backbone.switch_to_deploy(engine)
        elif engine != 'torch':
            raise InputError(f'engine={engine!r} runs backbones BiRealResNet, not {type(self.backbone).__name__}')
        elif not self.deploy:
            fold_(self.backbone)
        self.eval()
        self.deploy = True

    def logits(self, inputs: Tensor) -> Tensor:
        """Normalised images ``(N, C, H, W)`` to logits ``(N, num_classes)``."""
        features = self.backbone(inputs)[-1]
        return self.fc(self.dropout(features.mean((2, 3))))

    def label_loss(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """Cross entropy of the labels ``(N,)``, in float32.

        Raises:
            InputError: there are no labels.
        """
        if labels is None:
            raise InputError(f"{type(self).__name__} needs labels in mode 'loss'")
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = 'tensor') -> Any:
        """Output of one of mmengine's three modes.

        * 'tensor': the logits.
        * 'loss': ``dict(loss=cross entropy)``; needs ``labels`` ``(N,)``.
        * 'predict': one ``dict(scores=(num_classes,), label=int or None)`` per image, scores being probabilities.
        """
        logits = self.logits(inputs)
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            return dict(loss=self.label_loss(logits, labels))
        if mode == 'predict':
            scores = logits.float().softmax(-1).cpu()
            truth = [None] * len(scores) if labels is None else labels.tolist()
            return [dict(scores=score, label=label) for score, label in zip(scores, truth, strict=True)]
        raise InputError(f"mode is 'loss', 'predict' or 'tensor', not {mode!r}")


@METRICS.register_module()
class TopKAccuracy(BaseMetric):
    """``accuracy/top{k}`` in percent for each k, from samples ``dict(scores=(C,), label=int)``.

    A class counts as ranked before the true one if its score is higher, or equal at a lower index, so that constant
    scores are not all correct. Nor are scores with a NaN, whose true class counts as ranked last.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        self.topk = tuple(topk)
        self.names = tuple(f'{self.prefix}/top{k}' for k in self.topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            scores, label = sample['scores'], sample['label']
            ahead = (scores > scores[label]).sum() + (scores[:label] == scores[label]).sum()
            self.results.append(len(scores) if scores.isnan().any() else int(ahead))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {f'top{k}': 100.0 * sum(rank < k for rank in results) / len(results) for k in self.topk}
