"""Time of an inference by kind of layer, from OpenVINO's own profile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bireal_plugin.export.openvino.engine import openvino
from bireal_plugin.studies.speed.engines import TimedEngine
from bireal_plugin.studies.speed.prepared import Forms

BINARY, STEM, SIGN = 'binary convolution', 'stem', 'sign + pack'
REAL_1X1, REAL_3X3, REAL_OTHER = 'real 1x1 convolution', 'real 3x3 convolution', 'other real convolution'
QUANTIZE, POOLING, LINEAR = 'quantize to int8', 'pooling', 'fully connected'
ELEMENTWISE, REORDER, OTHER = 'element-wise', 'reorder', 'other'
KINDS = (
    *(BINARY, SIGN, STEM, REAL_1X1, REAL_3X3, REAL_OTHER),
    *(LINEAR, POOLING, ELEMENTWISE, QUANTIZE, REORDER, OTHER),
)
# The names of layers in OpenVINO's compiled graph; convolutions and FakeQuantize depend on more than the name.
KIND_OF = {
    'BinaryConvolution': BINARY,
    **dict.fromkeys(('FullyConnected', 'MatMul'), LINEAR),
    **dict.fromkeys(('Pooling', 'AdaptivePooling', 'Reduce'), POOLING),  # Reduce is the global average pool
    **dict.fromkeys(('Eltwise', 'Subgraph', 'Select', 'Math'), ELEMENTWISE),
    **dict.fromkeys(('Reorder', 'Convert', 'Transpose', 'Reshape'), REORDER),
}
NOT_LAYERS = ('Input', 'Output', 'Const')


@dataclass(frozen=True)
class ProfiledLayer:
    """One layer: its name, its type and kernel in the engine, and its time in milliseconds.

    ``products`` that it adds up, on the image alone, and ``bytes`` that it reads and writes, are 0 where an engine does
    not tell them.
    """

    name: str
    type: str
    kernel: str
    kind: str
    ms: float
    products: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Profile:
    """The layers of our network on one engine, and the time of the whole calls that they are from.

    Times are means of all runs on OpenVINO, and medians on the C engine.
    """

    engine: TimedEngine
    runs: int
    whole_ms: float
    layers: tuple[ProfiledLayer, ...]

    @property
    def layers_ms(self) -> float:
        """The layers' sum."""
        return sum(layer.ms for layer in self.layers)

    def kinds(self) -> dict[str, tuple[int, float]]:
        """Number of layers and their milliseconds, of every kind that occurs."""
        found = {kind: [layer.ms for layer in self.layers if layer.kind == kind] for kind in KINDS}
        return {kind: (len(times), sum(times)) for kind, times in found.items() if times}


def profile(engine: TimedEngine, forms: Forms, *, runs: int, warm_up: int) -> Profile:
    """Profile ``runs`` inferences of a network on one of the OpenVINO engines.

    The engine counts whole microseconds per layer and reports the mean since compilation; the ``warm_up`` runs are
    taken out of that mean.
    """
    session = forms.openvino_session(engine)
    session.options['PERF_COUNT'] = True
    compiled = session.compile(forms.shape)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino().Tensor(forms.images.numpy(), shared_memory=True))
    for _ in range(warm_up):
        request.infer(share_outputs=True)
    before = _totals_ms(request, warm_up)
    start = time.perf_counter()
    for _ in range(runs):
        request.infer(share_outputs=True)
    whole = 1e3 * (time.perf_counter() - start) / runs
    after = _totals_ms(request, warm_up + runs)
    layers = tuple(
        ProfiledLayer(
            name := node.get_friendly_name(),
            layer_type(node),
            _text(node, 'primitiveType'),
            kind_of(node, forms.shape[1]),
            max(0.0, after[name] - before[name]) / runs,
        )
        for node in compiled.get_runtime_model().get_ordered_ops()
        # Weights that were brought into the kernels' layout once are in the graph, and not in the profile.
        if layer_type(node) not in NOT_LAYERS and node.get_friendly_name() in after
    )
    return Profile(engine, runs, whole, layers)


def kind_of(node: Any, image_channels: int) -> str:
    """The kind of a compiled graph's node; the stem is the convolution that reads as many channels as images have."""
    kind = layer_type(node)
    if kind in ('Convolution', 'GroupConvolution'):
        if node.input(0).get_shape()[1] == image_channels:
            return STEM
        kernel, size = tuple(node.input(1).get_shape())[-2:], tuple(node.input(0).get_shape())[2:]
        if size == (1, 1):  # as classifiers are exported
            return LINEAR
        return {(1, 1): REAL_1X1, (3, 3): REAL_3X3}.get(kernel, REAL_OTHER)
    if kind == 'FakeQuantize':
        return SIGN if 'BinaryConvolution' in _readers(node) else QUANTIZE
    return KIND_OF.get(kind, OTHER)


def layer_type(node: Any) -> str:
    """The engine's name for a node's type, such as Convolution."""
    return _text(node, 'layerType')


def _readers(node: Any) -> set[str]:
    """Types of the layers that read a node's output, seen through changes of layout."""
    found: set[str] = set()
    for target in node.output(0).get_target_inputs():
        reader = target.get_node()
        found |= _readers(reader) if layer_type(reader) == 'Reorder' else {layer_type(reader)}
    return found


def _totals_ms(request: Any, runs: int) -> dict[str, float]:
    """Milliseconds that each layer took in all ``runs`` since compilation."""
    return {info.node_name: 1e3 * info.real_time.total_seconds() * runs for info in request.profiling_info}


def _text(node: Any, key: str) -> str:
    return node.get_rt_info()[key].astype(str)
