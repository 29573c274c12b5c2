"""int8 for real layers: NNCF's post-training quantization of convolutions and linear layers, and of nothing else.

Additions, pooling and the signs in front of 1-bit convolutions keep float32: quantizers there cost more than they save
and keep the engine from fusing the addition into the 1-bit convolution.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.optional_package import require

QUANTIZED = ('Convolution', 'GroupConvolution', 'MatMul')
# Without an operand to quantize; the quantizer warns about types that it does not know.
NOT_OPERATIONS = ('Constant', 'Parameter', 'Result')


def quantize_real_layers(model: Any, calibration: Iterable[np.ndarray]) -> Any:
    """A copy of an ``openvino.Model`` whose real convolutions and linear layers multiply in int8.

    Args:
        calibration: batches of normalised images in the model's input shape, some hundred images as a rule.

    Raises:
        InputError: nncf is missing, or there is no calibration batch, or one is of another shape.
    """
    require('nncf', engine='openvino')
    batches = [np.asarray(batch, np.float32) for batch in calibration]
    shape = tuple(model.inputs[0].shape)
    if not batches:
        raise InputError('int8 real layers need calibration images, and there are none')
    wrong = next((batch.shape for batch in batches if batch.shape != shape), None)
    if wrong is not None:
        raise InputError(f'a calibration batch has the shape {wrong}; the network was exported for {shape}')

    import nncf
    from nncf.common.logging.logger import set_log_level

    set_log_level(logging.ERROR)  # it reports every layer that it was told to leave alone
    types = {operation.get_type_name() for operation in model.get_ops()}
    left = sorted(types.difference(QUANTIZED, NOT_OPERATIONS))
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars are no output
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(types=left, validate=False),
        )
