"""Distillation from a real teacher: the distributional loss of ReActNet (ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.errors import InputError
from bireal_plugin.models.classifier import BiRealClassifier


@MODELS.register_module()
class DistilledClassifier(BiRealClassifier):
    """A BiRealClassifier that learns a frozen teacher's class probabilities instead of, or beside, the labels.

    ``loss = -(1 - label_weight) mean_n sum_c p_teacher log p_student + label_weight CE(labels)``

    The teacher is in evaluation mode, follows this model to devices, and is no part of it otherwise: neither its
    parameters nor its weights are the student's, whose checkpoints load into a BiRealClassifier and back.

    Args:
        backbone, num_classes, options: as for ``BiRealClassifier``.
        teacher: config of a classifier in MODELS that maps the student's normalised images to logits ``(N, classes)``.
        teacher_checkpoint: file of its weights, which must fit completely; None for a teacher that brings them, as
            ``EfficientNetLite0``.
        label_weight: share of the cross entropy with the labels, 0 to 1.

    Raises:
        InputError: the checkpoint is missing, cannot be read or is another network's, or ``label_weight`` is outside
            [0, 1].
    """

    def __init__(
        self,
        backbone: Mapping[str, Any] | nn.Module,
        num_classes: int,
        *,
        teacher: Mapping[str, Any],
        teacher_checkpoint: str | None = None,
        label_weight: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(backbone, num_classes, **options)
        if not 0 <= label_weight <= 1:
            raise InputError(f'DistilledClassifier: label_weight={label_weight} must be between 0 and 1')
        self.label_weight = label_weight
        model = MODELS.build(teacher)
        if teacher_checkpoint is not None:
            # On the teacher's device, which is 'meta' while a recipe is only checked.
            content = read_checkpoint(teacher_checkpoint, map_location=next(model.parameters()).device)
            load_weights(model, state_dict_of(content, teacher_checkpoint), source=teacher_checkpoint, strict=True)
        elif not getattr(model, 'brings_weights', False):
            raise InputError(f'DistilledClassifier: a {type(model).__name__} as teacher needs teacher_checkpoint')
        # In a tuple a module is no submodule: not in the state dict, parameters(), train() or DDP.
        self._teacher = (model.requires_grad_(False).eval(),)

    @property
    def teacher(self) -> nn.Module:
        """The frozen network whose probabilities are learned."""
        return self._teacher[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DistilledClassifier:
        """Move and cast the teacher too: ``to``, ``cuda`` and ``half`` call this."""
        self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = 'tensor') -> Any:
        """As ``BiRealClassifier``; the loss is ``distillation_loss`` and, if it has a weight, ``label_loss``."""
        if mode != 'loss':
            return super().forward(inputs, labels, mode)
        logits = self.logits(inputs).float()
        with torch.no_grad():
            target = self.teacher(inputs).float().softmax(-1)
        if target.shape != logits.shape:
            raise InputError(f'the teacher has {target.shape[-1]} classes and the student {logits.shape[-1]}')
        losses = dict(distillation_loss=(1 - self.label_weight) * F.cross_entropy(logits, target))
        if self.label_weight:
            losses['label_loss'] = self.label_weight * self.label_loss(logits, labels)
        return losses


def student_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the network that a distilled one becomes: without the teacher, whose file may be gone by then."""
    if config.get('type') != 'DistilledClassifier':
        return config
    kept = {key: value for key, value in config.items() if key not in ('teacher', 'teacher_checkpoint', 'label_weight')}
    return {**kept, 'type': 'BiRealClassifier'}
