"""Suppression of boxes that overlap better ones: NMS by torchvision, soft-NMS and NMS with groups in numpy.

Boxes are (x0, y0, x1, y1). With ``offset=1`` they are legacy boxes in whole pixels, whose width is ``x1 - x0 + 1``.
"""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from torch import Tensor

LINEAR, GAUSSIAN = 1, 2  # methods of soft-NMS; 0 is the naive one, which is NMS


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that stay, best first.

    Args:
        boxes: (N, 4). scores: (N,).
    """
    threshold = float(np.float32(iou_threshold))  # as mmcv compares
    order = _best_first(scores)
    corners = boxes[order] + boxes.new_tensor([0, 0, offset, offset])
    return order[torchvision.ops.nms(corners, scores[order], threshold)]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices of the boxes that stay, best first. A box loses score for its overlap with each better one.

    A box that falls out gives its place to the last one, as in mmcv, so that equal scores are taken in mmcv's order.

    Args:
        boxes: (N, 4), in memory of the CPU, as the others. scores: (N,).
        dets: (N, 5), whose first rows are filled with the boxes that stay and their new scores.
    """
    table = torch.cat([boxes, scores[:, None]], dim=1).numpy()
    indices = np.arange(len(table))
    taken, count = 0, len(table)
    while taken < count:
        best = taken + int(table[taken:count, 4].argmax())
        table[[taken, best]], indices[[taken, best]] = table[[best, taken]], indices[[best, taken]]
        others, numbers = table[taken + 1 : count], indices[taken + 1 : count]
        overlap = _overlaps(table[taken], others, offset)
        if method == GAUSSIAN:
            others[:, 4] *= np.exp(-(overlap**2) / sigma)
        else:
            others[:, 4] *= np.where(overlap >= iou_threshold, 1 - overlap if method == LINEAR else 0, 1)
        stays = others[:, 4] >= min_score
        left = int(np.count_nonzero(stays))
        gaps, last = np.flatnonzero(~stays[:left]), left + np.flatnonzero(stays[left:])[::-1]
        others[gaps], numbers[gaps] = others[last], numbers[last]
        taken, count = taken + 1, taken + 1 + left
    dets[:count] = torch.from_numpy(table[:count])
    return torch.from_numpy(indices[:count])


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """For each box that stays, best first: its index, and the indices of those that it suppresses.

    Args:
        dets: (N, 5), boxes and their scores.
    """
    table = dets.numpy()
    order = _best_first(dets[:, 4]).numpy()
    groups = []
    while len(order):
        best, others = order[0], order[1:]
        suppressed = _overlaps(table[best], table[others], offset=0) >= iou_threshold
        groups.append([int(best), *others[suppressed].tolist()])
        order = others[~suppressed]
    return groups


def _best_first(scores: Tensor) -> Tensor:
    """Indices in mmcv's order, for equal scores too: torchvision sorts by another sort, which keeps the order here."""
    return scores.sort(descending=True).indices


def _overlaps(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """(N,) intersection over union of ``box`` (4+,) with each of ``others`` (N, 4+); 0 if both are empty."""
    corner = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:4])
    shared = np.maximum(corner[1] - corner[0] + offset, 0).prod(axis=1)
    areas = (others[:, 2:4] - others[:, :2] + offset).prod(axis=1) + (box[2:4] - box[:2] + offset).prod()
    union = areas - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
