"""Engines that run a network within PyTorch, for ``switch_to_deploy(engine)``; importing this module names them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bireal_plugin.export.engines import ENGINES, Session, write
from bireal_plugin.folding.engine_run import RUNNERS, Run

IN_PLACE = ('c', 'openvino', 'onnx')


def run_by(engine: str, network: nn.Module, shape: Sequence[int]) -> Run:
    """A folded network as a function on batches ``(N, C, H, W)``, of the images in ``shape``."""
    with tempfile.TemporaryDirectory(prefix='bireal_') as folder:
        path = write(network, engine, shape, Path(folder, f'network{ENGINES[engine].suffix}'))
        session = Session(path, threads=torch.get_num_threads())

    def run(x: Tensor) -> list[Tensor]:
        return [torch.from_numpy(output) for output in session(x)]

    return run


RUNNERS |= {engine: partial(run_by, engine) for engine in IN_PLACE if engine in ENGINES}
