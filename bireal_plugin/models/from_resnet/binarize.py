"""``binarize(model)``: an existing ResNet becomes its Bi-Real twin, in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, get_args

from torch import nn

from bireal_plugin.binary.activation import build_activation
from bireal_plugin.binary.conv import BinaryConv2d, conv_factory
from bireal_plugin.binary.switch import WeightStep, latent_weights, set_activation, set_weights
from bireal_plugin.cost import Cost, cost_of_calls, model_cost
from bireal_plugin.dry_run import Shape, dry_run, input_shape, weightless_copy
from bireal_plugin.errors import InputError, check_choice, listed
from bireal_plugin.hosts.torch_private import move_hooks
from bireal_plugin.models.from_resnet.trunk import TrunkPlan, find_host, plan_trunk
from bireal_plugin.models.from_resnet.twins import MakeConv, TwinBasicBlock, TwinBottleneck
from bireal_plugin.models.stages import Structure

Filter = Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class BiRealConfig:
    """Options of ``binarize``; the values are those of ``BiRealResNet``.

    Args:
        sign: surrogate of sign's derivative; None leaves it to ``conv`` (BinaryConv2d: 'ApproxSign').
        weight: weight binarizer; None leaves it to ``conv`` (BinaryConv2d: 'MagnitudeAware').
        activation: 'sign', or the real 'relu', 'leaky_clip', 'clip' of pre-training.
        weights: 'binary'; 'step1' for 1x1 convolutions only; 'real'.
        conv: the 1-bit convolution, a name or a dict of type and its own options.
        structure: 'bireal'; 'resnet' keeps the host's one shortcut per block; 'plain' drops it.

    Raises:
        InputError: an unknown value.
    """

    sign: Any = None
    weight: Any = None
    activation: str = 'sign'
    weights: WeightStep = 'binary'
    conv: Any = 'BinaryConv2d'
    structure: Structure = 'bireal'

    def __post_init__(self) -> None:
        check_choice('BiRealConfig', 'weights', self.weights, get_args(WeightStep))
        check_choice('BiRealConfig', 'structure', self.structure, get_args(Structure))
        if self.activation != 'sign':
            build_activation(self.activation)
        self.make_conv()(nn.Conv2d(1, 1, 1))

    def make_conv(self) -> MakeConv:
        """Function from a convolution to its 1-bit twin over the same Parameters."""
        factory = conv_factory(self.conv, sign=self.sign, weight=self.weight)
        kind: Any = factory.func

        def make(conv: nn.Conv2d) -> nn.Conv2d:
            try:
                return kind.from_float(conv, **factory.keywords)
            except TypeError as error:
                raise InputError(f'{kind.__name__} does not take {factory.keywords}: {error}') from error

        return make


@dataclass(frozen=True)
class BinarizeReport:
    """The result of ``binarize``.

    Args:
        host: name of the changed network within the model, '' for the model itself.
        binarized: names of the convolutions that became 1-bit.
        real: name of every other convolution and linear layer of the host, and why it stayed real.
        removed: names of the stem's activations, now identities. Those of the blocks went with their blocks.
        new_parameters: names of parameters that no optimizer from before knows.
        dropped_parameters: names that are gone (shortcuts, in the 'plain' structure).
        state: structure, activation and weights, as text.
        before, after: cost of the host on an image of ``before.shape``.
    """

    host: str
    binarized: tuple[str, ...]
    real: dict[str, str]
    removed: tuple[str, ...]
    new_parameters: tuple[str, ...]
    dropped_parameters: tuple[str, ...]
    state: str
    before: Cost
    after: Cost

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for name, reason in self.real.items():
            reasons.setdefault(reason, []).append(name)
        lines = [f'{self.host or "model"}: {len(self.binarized)} convolutions binarized ({self.state})']
        lines += [f'  real: {listed(names)} ({reason})' for reason, names in reasons.items()]
        for what, names in (
            ('removed', self.removed),
            ('new, to be added to an existing optimizer', self.new_parameters),
            ('no longer used', self.dropped_parameters),
        ):
            if names:
                lines.append(f'  {what}: {listed(names)}')
        before, after = self.before, self.after
        lines.append(
            f'  memory {before.memory_bits / 1e6:.1f} -> {after.memory_bits / 1e6:.1f} Mbit '
            f'({before.memory_bits / after.memory_bits:.2f}x), bit-operations {before.bops:.3g} -> {after.bops:.3g} '
            f'({before.bops / after.bops:.2f}x) on {"x".join(map(str, before.shape))}'
        )
        return '\n'.join(lines)


def binarize(
    model: nn.Module,
    config: BiRealConfig | None = None,
    *,
    filter: Filter | None = None,
    shape: Shape | None = None,
    **options: Any,
) -> BinarizeReport:
    """Turn the ResNet in ``model`` into its Bi-Real twin in place: ``print(binarize(torchvision.models.resnet18()))``.

    The ResNet is found by its structure: blocks of conv1, bn1, conv2, bn2[, conv3, bn3] and downsample that run in a
    row behind a stem, as torchvision, timm, mmdet and mmpretrain write ResNet, ResNeXt, wide ResNet and their relatives
    with squeeze-and-excitation (which stays real, on the branch of the last convolution). Each block gets a sign in
    front of every convolution, a shortcut around each, no activation; the stem's last activation goes. Stem, stage
    transitions, classifier and a bottleneck network's first 1x1 convolution stay real.

    Parameters are the same objects and keep their names, so an optimizer from before still trains them. New are only
    ``{block}.narrow_shortcut.weight``, in the first block of every bottleneck stage but the first, and what a
    convolution of another type than BinaryConv2d brings. ``model.no_weight_decay()`` names the latent weights, from
    which timm's optimizers keep weight decay.

    Args:
        config: options; or its fields as keywords, ``binarize(model, activation='clip', weights='real')``.
        filter: ``filter(name, conv)`` False keeps a block's convolution real, behind a leaky clip.
        shape: ``(C, H, W)`` of an image, for the check by a dry run and for the report; by default timm's
            ``default_cfg``, else 224 x 224.

    Returns:
        What was binarized, what stayed real and why, memory and bit-operations before and after.

    Raises:
        InputError: the model has no Bi-Real twin; the sentence names the module at fault, and nothing has changed.
    """
    known = [field.name for field in fields(BiRealConfig)]
    unknown = [key for key in options if key not in known]
    if unknown:
        raise InputError(f'binarize() does not take {", ".join(unknown)}; BiRealConfig has: {", ".join(known)}')
    config = replace(config or BiRealConfig(), **options)
    host_name = find_host(model)
    host = model.get_submodule(host_name)
    prefix = f'{host_name}.' if host_name else ''
    shape = input_shape(host) if shape is None else shape
    trial = weightless_copy(host)
    try:
        calls = dry_run(trial, shape)
        plan = plan_trunk(trial, calls)
    except InputError as error:
        raise InputError(f'{host_name}: {error}' if host_name else str(error)) from error
    before = cost_of_calls(host, shape, calls)
    kept = {}
    for conv in (f'{block.name}.{conv}' for block in plan.blocks for conv in block.convs):
        if plan.blocks[0].is_bottleneck and conv == f'{plan.blocks[0].name}.conv1':
            kept[conv] = "the network's first 1x1 convolution, behind a leaky clip"
        elif filter is not None and not filter(prefix + conv, host.get_submodule(conv)):
            kept[conv] = 'kept by the filter, behind a leaky clip'

    # The trial is changed and run first, so that no mistake can leave the model half changed.
    _put_twins(trial, plan, config, kept)
    after = model_cost(trial, shape)
    names = {name for name, _ in host.named_parameters()}
    _put_twins(host, plan, config, kept)
    if not hasattr(model, 'no_weight_decay'):  # by which timm's optimizers ask
        model.no_weight_decay = partial(latent_weights, model)  # type: ignore[assignment]

    new_names = [name for name, _ in host.named_parameters()]
    return BinarizeReport(
        host=host_name,
        binarized=tuple(prefix + name for name, module in host.named_modules() if isinstance(module, BinaryConv2d)),
        real={prefix + name: reason for name, reason in _real_layers(host, plan, kept).items()},
        removed=tuple(prefix + name for name in plan.stem_activations),
        new_parameters=tuple(prefix + name for name in new_names if name not in names),
        dropped_parameters=tuple(prefix + name for name in sorted(names - set(new_names))),
        state=f'structure {config.structure}, activation {config.activation}, weights {config.weights}',
        before=before,
        after=after,
    )


def _put_twins(host: nn.Module, plan: TrunkPlan, config: BiRealConfig, kept: dict[str, str]) -> None:
    narrow_channels: int | None = None
    for block_plan in plan.blocks:
        block = host.get_submodule(block_plan.name)
        real = [conv for conv in block_plan.convs if f'{block_plan.name}.{conv}' in kept]
        options: dict[str, Any] = dict(structure=config.structure, make_conv=config.make_conv(), real=real)
        if block_plan.is_bottleneck:
            options['narrow_channels'] = narrow_channels
        twin = (TwinBottleneck if block_plan.is_bottleneck else TwinBasicBlock)(block, block_plan, **options)
        host.set_submodule(block_plan.name, twin)
        narrow_channels = block.conv1.out_channels  # type: ignore[assignment, union-attr]
        if block_plan.shortcut_conv is not None and block_plan.pool > 1:
            block.get_submodule(block_plan.shortcut_conv).stride = (1, 1)  # type: ignore[assignment]
    for name in plan.stem_activations:
        activation = host.get_submodule(name)
        identity = nn.Identity().train(activation.training)
        move_hooks(activation, identity)
        host.set_submodule(name, identity)
    set_activation(host, config.activation)
    set_weights(host, config.weights)


def _real_layers(host: nn.Module, plan: TrunkPlan, kept: dict[str, str]) -> dict[str, str]:
    """Every real convolution and linear layer of the changed host, and the reason why it is real."""
    reasons = {}
    shortcuts = {f'{block.name}.{block.shortcut_conv}' for block in plan.blocks}
    blocks = tuple(f'{block.name}.' for block in plan.blocks)
    stem = True
    for name, module in host.named_modules():
        stem = stem and not name.startswith(blocks)
        if isinstance(module, BinaryConv2d) or not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        if name in kept:
            reasons[name] = kept[name]
        elif name in shortcuts:
            reasons[name] = 'stage transition'
        elif name.endswith('.narrow_shortcut'):
            reasons[name] = "stage transition of the narrow stream, which the host's blocks do not have"
        elif name.startswith(blocks):
            reasons[name] = 'attention'
        elif stem:
            reasons[name] = 'stem'
        else:
            reasons[name] = 'classifier' if isinstance(module, nn.Linear) else 'outside the blocks'
    return reasons
