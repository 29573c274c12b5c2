"""Networks made ready to be timed: every engine becomes one function without arguments.

What such a call contains is the same for all: one call from Python on the same contiguous float32 batch, which exists
beforehand and is not copied, until every output can be read in memory. Pre-processing is not in it, and neither is
anything done once: conversion, compilation, the first runs. The tflite engine runs in a process of its own, and passing
arrays to it and back is in its time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.export.openvino.engine import OpenVINOSession, convert, openvino
from bireal_plugin.export.session_io import Precision
from bireal_plugin.folding.engine_run import EngineRun
from bireal_plugin.folding.layers import FoldedLayer
from bireal_plugin.studies.speed.engines import OPENVINO, C, TimedEngine

CALIBRATION_BATCHES = 2  # how fast int8 runs does not depend on the ranges


@dataclass(frozen=True)
class Prepared:
    """A network on an engine. ``run()`` is what is timed; it gives the outputs as the engine does.

    Attributes:
        threads: number that the engine itself reports.
        file_bytes: size of the files that the engine loads; for torch, of the tensors of the state dict.
    """

    run: Callable[[], Any]
    threads: int
    file_bytes: int


class Forms:
    """One network in the forms that engines take, each made when first asked for, and kept.

    Args:
        network: in evaluation mode. images: ``(N, C, H, W)``. folder: where files are written.
    """

    def __init__(self, network: nn.Module, images: Tensor, *, folder: Path, threads: int) -> None:
        self.network, self.images, self.folder, self.threads = network, images, folder, threads
        self.folded = any(isinstance(module, FoldedLayer) for module in network.modules())

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, C, H, W)``."""
        return tuple(self.images.shape)

    @cached_property
    def openvino(self) -> Any:
        """The network as ``openvino.Model``, real weights in float32."""
        return convert(self.network, self.shape)

    @cached_property
    def openvino_int8(self) -> Any:
        """The same with real layers in int8."""
        from bireal_plugin.export.openvino.engine import quantize_real_layers

        return quantize_real_layers(self.openvino, self.calibration)

    @property
    def calibration(self) -> list[np.ndarray]:
        """Batches for ranges of activations."""
        generator = np.random.default_rng(0)
        return [generator.standard_normal(self.shape, np.float32) for _ in range(CALIBRATION_BATCHES)]

    @cached_property
    def onnx(self) -> Path:
        """Path of the network as ONNX file: ours with packed weights, a real network as torch exports it."""
        path = self.folder / 'network.onnx'
        if self.folded:
            from bireal_plugin.export.onnx.engine import export_onnx

            return export_onnx(self.network, path, self.shape)
        with torch.no_grad():
            torch.onnx.export(self.network, (self.images,), str(path), dynamo=True, verbose=False, external_data=False)
        return path

    def c_options(self, engine: TimedEngine) -> dict[str, Any]:
        """Options of the export for one of ``C``."""
        precision = ENGINES['c'].precisions[cast(Precision, engine.removeprefix('c-'))]
        return {**precision.exporting, **(dict(calibration=self.calibration) if precision.calibrated else {})}

    def openvino_session(self, engine: TimedEngine) -> OpenVINOSession:
        """A session of its own for one of ``OPENVINO``."""
        model = self.openvino_int8 if engine == 'openvino-int8' else self.openvino
        real_layers: Precision = 'bf16' if engine == 'openvino-bf16' else 'f32'
        return OpenVINOSession(model, real_layers=real_layers, threads=self.threads)


def prepare(engine: TimedEngine, forms: Forms) -> Prepared:
    """A network on one engine, compiled but not run yet."""
    if engine in C:
        return _c(engine, forms)
    if engine in OPENVINO:
        return _openvino(engine, forms)
    if engine == 'onnxruntime':
        return _onnxruntime(forms)
    if engine == 'tflite':
        return _tflite(forms)
    return _torch(engine, forms)


def _c(engine: TimedEngine, forms: Forms) -> Prepared:
    path = forms.folder / f'{engine.replace("-", "_")}.c'
    export_c(forms.network, path, forms.shape, **forms.c_options(engine))
    session = CSession(path, threads=forms.threads)
    images = forms.images.numpy()
    return Prepared(lambda: session.run(images), session.threads, path.stat().st_size)


def _openvino(engine: TimedEngine, forms: Forms) -> Prepared:
    session = forms.openvino_session(engine)
    compiled = session.compile(forms.shape)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino().Tensor(forms.images.numpy(), shared_memory=True))

    path = forms.folder / f'{engine}.xml'
    openvino().save_model(session.model, str(path), compress_to_fp16=False)
    size = path.stat().st_size + path.with_suffix('.bin').stat().st_size
    return Prepared(lambda: request.infer(share_outputs=True), compiled.get_property('INFERENCE_NUM_THREADS'), size)


def _onnxruntime(forms: Forms) -> Prepared:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = forms.threads, 1
    options.log_severity_level = 3
    # Its threads would go on spinning while the next side is timed.
    options.add_session_config_entry('session.force_spinning_stop', '1')
    session = onnxruntime.InferenceSession(str(forms.onnx), options, providers=['CPUExecutionProvider'])
    feed = {session.get_inputs()[0].name: forms.images.numpy()}

    threads = session.get_session_options().intra_op_num_threads
    return Prepared(lambda: session.run(None, feed), threads, forms.onnx.stat().st_size)


def _torch(engine: TimedEngine, forms: Forms) -> Prepared:
    network, images = forms.network, forms.images
    if engine == 'torch-channels-last':
        network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    elif engine == 'torch-compile':
        network = torch.compile(network)  # type: ignore[assignment]
    elif engine == 'torch-c':
        network = partial(EngineRun('c'), network)  # type: ignore[assignment]

    size = sum(value.nbytes for value in forms.network.state_dict().values())
    return Prepared(torch.inference_mode()(lambda: network(images)), torch.get_num_threads(), size)


def _tflite(forms: Forms) -> Prepared:
    from bireal_plugin.export.tflite.engine import TFLiteSession, export_tflite

    path = export_tflite(forms.network, forms.folder / 'network.tflite', forms.shape)
    session = TFLiteSession(path, threads=forms.threads)
    images = forms.images.numpy()
    return Prepared(lambda: session(images), forms.threads, path.stat().st_size)
