"""Convolutions that look elsewhere: deformable ones by torchvision, with masks (v2) and without, and masked ones.

``**window`` is mmcv's geometry, which it gives by name. Groups of channels and of offsets follow from the shapes.
Buffers that mmcv's own kernels fill on the way are left alone.
"""

from __future__ import annotations

from functools import partial

import torchvision
from torch import Tensor
from torch.nn import functional as F

from bireal_plugin.mmcv_operators.formulas import fill_gradients


def deform_conv(input: Tensor, offset: Tensor, weight: Tensor, window: dict[str, int]) -> Tensor:
    """(N, outputs, rows, columns) of deformable convolution v1."""
    stride, padding = (window['dH'], window['dW']), (window['padH'], window['padW'])
    dilation = window['dilationH'], window['dilationW']
    return torchvision.ops.deform_conv2d(input, offset, weight, None, stride, padding, dilation)


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **window: int
) -> None:
    """Fills ``output``."""
    output.copy_(deform_conv(input, offset, weight, window))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **window: int,
) -> None:
    """Fills the gradients of the input and of the offsets."""
    convolve = partial(deform_conv, weight=weight, window=window)
    fill_gradients((grad_input, grad_offset), convolve, (input, offset), grad_output)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **window: int,
) -> None:
    """Fills the gradient of the weights, times ``scale``."""
    values = grad_weight.clone()  # any: the output is linear in the weights
    fill_gradients([grad_weight], partial(deform_conv, input, offset, window=window), [values], grad_output)
    grad_weight *= scale


def modulated_deform_conv(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None, *, window: dict[str, int]
) -> Tensor:
    """(N, outputs, rows, columns) of deformable convolution v2, whose samples are multiplied by ``mask``.

    DyHead gives it offsets and masks of more rows and columns than the output has. Of such memory mmcv reads the front,
    as if it had the shape of the output, and networks are trained so.
    """
    stride, padding = (window['stride_h'], window['stride_w']), (window['pad_h'], window['pad_w'])
    dilation = window['dilation_h'], window['dilation_w']
    size = [
        (input.shape[2 + axis] + 2 * padding[axis] - dilation[axis] * (weight.shape[2 + axis] - 1) - 1) // stride[axis]
        + 1
        for axis in (0, 1)
    ]
    offset, mask = (
        maps.flatten(1)[:, : maps.shape[1] * size[0] * size[1]].unflatten(1, (maps.shape[1], *size))
        for maps in (offset, mask)
    )
    return torchvision.ops.deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **window: int,
) -> None:
    """Fills ``output``."""
    output.copy_(modulated_deform_conv(input, offset, mask, weight, bias if with_bias else None, window=window))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **window: int,
) -> None:
    """Fills the gradients of all that is learned or comes from layers before."""
    inputs = [input, offset, mask, weight, *[bias] * with_bias]
    targets = [grad_input, grad_offset, grad_mask, grad_weight, *[grad_bias] * with_bias]
    fill_gradients(targets, partial(modulated_deform_conv, window=window), inputs, grad_output)


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fills ``col`` (C * kernel_h * kernel_w, K): what the kernel sees at each of K places of one map (1, C, H, W)."""
    columns = im.shape[3] + 2 * pad_w - kernel_w + 1
    everywhere = F.unfold(im, (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    col.copy_(everywhere[:, mask_h_idx * columns + mask_w_idx])


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Writes the columns of ``col`` (C, K) to K places of the map ``im`` (1, C, H, W)."""
    im[0, :, mask_h_idx, mask_w_idx] = col
