"""Top-k accuracy, as an mmengine metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


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

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            scores, label = sample['scores'], sample['label']
            ahead = (scores > scores[label]).sum() + (scores[:label] == scores[label]).sum()
            self.results.append(len(scores) if scores.isnan().any() else int(ahead))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {f'top{k}': 100.0 * sum(rank < k for rank in results) / len(results) for k in self.topk}
