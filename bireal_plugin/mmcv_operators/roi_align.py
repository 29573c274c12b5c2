"""RoIAlign by torchvision, whose samples and means are mmcv's; and its variant that takes the largest sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
import torchvision
from torch import Tensor

from bireal_plugin.mmcv_operators.formulas import fill_gradients

MAX = 0  # the mode of pooling; 1 is the mean


@dataclass(frozen=True)
class Pooling:
    """Arguments of RoIAlign.

    Attributes:
        size: (rows, columns) of bins in each region. scale: px of the map for 1 px of the image.
        samples: along each side of a bin; 0 for as many as the bin has px. aligned: px have their centres at halves.
    """

    size: tuple[int, int]
    scale: float
    samples: int
    aligned: bool

    def mean(self, maps: Tensor, rois: Tensor) -> Tensor:
        """(K, C, rows, columns), the mean of the samples of each bin.

        Args:
            maps: (N, C, H, W). rois: (K, 5), the index of a map, and x0, y0, x1, y1 in px of the image.
        """
        return torchvision.ops.roi_align(maps, rois.to(maps), self.size, self.scale, self.samples, self.aligned)

    def single_samples(self, maps: Tensor, rois: Tensor, grid: tuple[int, int]) -> Tensor:
        """(K, C, rows, columns, samples), where ``grid`` is (rows, columns) of the samples of one bin."""
        rows, columns = self.size
        fine = replace(self, size=(rows * grid[0], columns * grid[1]), samples=1).mean(maps, rois)
        apart = fine.unflatten(3, (columns, grid[1])).unflatten(2, (rows, grid[0]))
        return apart.transpose(3, 4).flatten(4)

    def grids(self, rois: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """(indices of regions, their (rows, columns) of samples in one bin), for each such grid that there is."""
        if self.samples > 0:
            yield torch.arange(len(rois), device=rois.device), (self.samples, self.samples)
            return
        corners = rois[:, 1:] * self.scale - (0.5 if self.aligned else 0.0)
        sides = (corners[:, 2:] - corners[:, :2]).clamp(min=0.0 if self.aligned else 1.0).flip(1)
        grids = (sides / sides.new_tensor(self.size)).ceil().clamp(min=1).long()
        distinct, which = torch.unique(grids, dim=0, return_inverse=True)
        for number, (rows, columns) in enumerate(distinct.tolist()):
            yield torch.nonzero(which == number)[:, 0], (rows, columns)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills ``output`` (K, C, rows, columns), and if the largest sample is taken its row and column in the bin."""
    pooling = Pooling((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    if pool_mode != MAX:
        output.copy_(pooling.mean(input, rois))
        return
    for chosen, grid in pooling.grids(rois):
        largest, number = pooling.single_samples(input, rois[chosen], grid).max(dim=-1)
        output[chosen] = largest
        argmax_y[chosen], argmax_x[chosen] = (number // grid[1]).to(argmax_y), (number % grid[1]).to(argmax_x)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills ``grad_input`` (N, C, H, W), which holds zeros, with the gradient of the maps."""
    pooling = Pooling((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    maps = torch.zeros_like(grad_input)  # any: RoIAlign is linear
    if pool_mode != MAX:
        fill_gradients([grad_input], partial(pooling.mean, rois=rois), [maps], grad_output)
        return
    for chosen, grid in pooling.grids(rois):
        number = (argmax_y[chosen] * grid[1] + argmax_x[chosen]).long()[..., None]
        of_samples = grad_output.new_zeros(*number.shape[:-1], grid[0] * grid[1])
        of_samples.scatter_(-1, number, grad_output[chosen][..., None])
        of_chosen = torch.empty_like(maps)
        sampled = partial(pooling.single_samples, rois=rois[chosen], grid=grid)
        fill_gradients([of_chosen], sampled, [maps], of_samples)
        grad_input += of_chosen
