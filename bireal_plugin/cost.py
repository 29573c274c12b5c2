"""Memory and bit-operations of any model, as in Table 5 (Sec. 4.4.1).

* memory in bits = 32 x real + 1 x binary parameters
* bit-operations (BOPs) = 64 x real + binary multiply-accumulates (MACs), of one image

All parameters are counted, and the MACs of convolutions and linear layers. As in the paper, additions, BatchNorm,
pooling and the scales of binary weights (which move into the BatchNorm behind, Eq. 20) are free. XNOR-Net keeps its
scales, so each alpha is a real parameter, and the products with alpha and K are two real MACs per output; what the
computation of K takes is not in Table 5 and not counted. Operations outside modules, such as the products of attention,
are not counted either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import prod

from torch import Tensor, nn

from bireal_plugin.binary.abc_net import ABCConv2d
from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.binary.weight import Sign, WeightBinarizer
from bireal_plugin.binary.xnor import XNORConv2d
from bireal_plugin.dry_run import Call, Shape, dry_run, input_shape
from bireal_plugin.hosts.torch_private import Convolution, TransposedConvolution
from bireal_plugin.text_table import text_table

REAL_BITS = 32
BOPS_PER_REAL_MAC = 64


@dataclass(frozen=True)
class _Counts:
    binary_parameters: int
    real_parameters: int
    binary_macs: int
    real_macs: int

    @property
    def memory_bits(self) -> int:
        return REAL_BITS * self.real_parameters + self.binary_parameters

    @property
    def bops(self) -> int:
        return BOPS_PER_REAL_MAC * self.real_macs + self.binary_macs


@dataclass(frozen=True)
class LayerCost(_Counts):
    """One module's own parameters (none of its children's) and the MACs of all its calls for one image."""

    name: str
    kind: str


@dataclass(frozen=True)
class Cost(_Counts):
    """Totals of a model on one image of ``shape`` (C, H, W), and its layers in definition order."""

    layers: tuple[LayerCost, ...]
    shape: Shape

    @property
    def second_stream(self) -> _Counts | None:
        """The real convolutions that carry a bottleneck network's second stream across stages; None without any."""
        carrying = [layer for layer in self.layers if layer.name.endswith('narrow_shortcut')]
        return _Counts(**_total(carrying)) if carrying else None

    def table(self) -> str:
        """One line per layer that multiplies, one for the parameters of all others, and the totals."""
        working = [layer for layer in self.layers if layer.binary_macs or layer.real_macs]
        idle = [layer for layer in self.layers if layer not in working]
        rest = LayerCost(**_total(idle), name='other parameters', kind=f'{len(idle)} layers')
        total = LayerCost(**_total(self.layers), name='total', kind='x'.join(map(str, self.shape)))
        rows = [
            {
                'layer': layer.name,
                'kind': layer.kind,
                'binary par.': f'{layer.binary_parameters:,}',
                'real par.': f'{layer.real_parameters:,}',
                'Mbit': f'{layer.memory_bits / 1e6:.3f}',
                'binary MACs': f'{layer.binary_macs:,}',
                'real MACs': f'{layer.real_macs:,}',
                'BOPs': f'{layer.bops:.3g}',
            }
            for layer in (*working, rest, total)
        ]
        return text_table(rows, left=('layer', 'kind'))


def model_cost(model: nn.Module, shape: Shape | None = None) -> Cost:
    """Memory and bit-operations of ``model``, which is neither run nor changed: a copy without memory is run instead.

    A BinaryConv2d counts as binary while both its switches are on. Of XNORConv2d, the alphas are real parameters until
    they are absorbed. Of ABCConv2d, each of the M weight bases is 1 bit per weight and each of the M x N convolutions
    is binary.

    Args:
        shape: ``(C, H, W)`` of the image; by default timm's ``default_cfg``, else the first convolution's channels
            at 224 x 224.
    """
    shape = input_shape(model) if shape is None else shape
    return cost_of_calls(model, shape, dry_run(model, shape))


def cost_of_calls(model: nn.Module, shape: Shape, calls: Sequence[Call]) -> Cost:
    """As ``model_cost``, by the ``calls`` of a dry run on an image of ``shape``."""
    binary_macs: Counter[str] = Counter()
    real_macs: Counter[str] = Counter()
    for name, module, x, y in calls:
        if isinstance(module, (Convolution, nn.Linear)):
            binary, real = _macs(module, x, y)
            binary_macs[name] += binary
            real_macs[name] += real
    layers = tuple(
        LayerCost(*parameters, binary_macs[name], real_macs[name], name=name, kind=type(module).__name__)
        for name, module, parameters in _own_parameters(model)
    )
    return Cost(**_total(layers), layers=layers, shape=shape)


def representable_values(*added: BinaryConv2d) -> int:
    """Number of values that an activation inside a feature map can take (Sec. 3.1 to 3.3).

    A sum of n products of +-1 is one of n + 1 numbers, n being the weights of a kernel, and BatchNorm keeps their
    number. Without a shortcut the sign behind leaves two of them; with one, each meets each value that the shortcut
    carries.

    Args:
        added: the 1-bit convolutions whose outputs shortcuts add up, one where there is no shortcut.
    """
    return prod(conv.weight[0].numel() + 1 for conv in added)


def _own_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[int, int]]]:
    """Name, module and (binary, real) count of every module with parameters of its own; shared ones count once."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        own = {key: p.numel() for key, p in parameters.items() if id(p) not in seen}
        seen |= {id(p) for p in parameters.values()}
        if _is_binary(module) and 'weight' in own:
            weights = own.pop('weight')
            bases, scales = _weight_bases(module)
            yield name, module, (bases * weights, sum(own.values()) + scales)
        elif parameters:
            yield name, module, (0, sum(own.values()))


def _macs(module: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int]:
    """(binary, real) multiply-accumulates of one call from ``x`` to ``y``."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    macs = (x if isinstance(module, TransposedConvolution) else y).numel() * weight.shape[1:].numel()
    scaled = y.numel() if isinstance(module, XNORConv2d) and module.binary_input else 0
    if not _is_binary(module):
        return 0, macs + scaled
    bases, scales = _weight_bases(module)
    if isinstance(module, ABCConv2d):
        return macs * bases * module.activation_bases, 0
    return macs * bases, scaled * (2 if scales else 1)


def _is_binary(module: nn.Module) -> bool:
    return isinstance(module, BinaryConv2d) and module.binary_input and module.binary_weight


def _weight_bases(conv: nn.Module) -> tuple[int, int]:
    """Number of binary tensors that make up the weight, and of real coefficients stored with them."""
    binarizer: WeightBinarizer = conv.weight_binarizer  # type: ignore[assignment]
    if not isinstance(conv, ABCConv2d):
        keeps_scales = isinstance(conv, XNORConv2d) and not isinstance(binarizer, Sign)
        return 1, len(conv.weight) if keeps_scales else 0  # type: ignore[arg-type]
    bases: int = binarizer.bases  # type: ignore[attr-defined]
    per_layer = binarizer.per == 'layer'  # type: ignore[attr-defined]
    return bases, bases * (1 if per_layer else conv.out_channels)


def _total(layers: Sequence[LayerCost]) -> dict[str, int]:
    return {field.name: sum(getattr(layer, field.name) for layer in layers) for field in fields(_Counts)}
