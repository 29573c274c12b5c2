"""The function of a network beside its tensors: two networks of one state dict may compute different things with it.

Strides, dilations and eps of norms are in no tensor, nor is the rule by which latent weights become 1-bit ones, nor are
the means and channel order of images. A checkpoint that carries its config tells what they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from bireal_plugin.binary.activation import REAL_ACTIVATIONS
from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.binary.switch import PHASES, binary_convolutions, set_phase
from bireal_plugin.checkpoints.file import Origin
from bireal_plugin.checkpoints.layouts import STOCK
from bireal_plugin.errors import InputError
from bireal_plugin.registry import WEIGHT_BINARIZERS

STEPS = (*REAL_ACTIVATIONS, 'sign')  # of the recipe, in their order
# Phases of a run that binarizes by a hook, to the step that its network was at.
REACHED = dict.fromkeys(PHASES, 'sign') | {step: step for step in REAL_ACTIVATIONS}
# Constants of PyTorch's modules that no output of evaluation depends on.
NOT_OF_THE_OUTPUT = ('momentum', 'inplace')


def advice(model: nn.Module, layout: str, origin: Origin | None, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Consequences of weights that were trained as another network than the model, with the same tensors."""
    convs = [conv for _, conv in binary_convolutions(model)]
    binary = sum(conv.binary_input or conv.binary_weight for conv in convs)
    found = (getattr(module, 'structure', None) for module in model.modules())
    structures = {structure for structure in found if isinstance(structure, str)}
    theirs: Mapping[str, Any] = dict(structure='resnet', activation='relu') if layout == STOCK else {}
    if origin is not None and layout != STOCK:
        network = origin.config.get('model') or {}
        theirs = {'structure': 'bireal', 'activation': 'sign', **network.get('backbone', network)}
    structure, activation = theirs.get('structure'), theirs.get('activation')
    if origin is not None and layout != STOCK:
        activation = next((REACHED[phase] for phase in origin.phases.values() if phase in REACHED), activation)
    if layout == STOCK and binary:
        yield (
            f'the {binary} 1-bit convolutions start from real weights trained behind ReLU: train real stages (ReLU, '
            'leaky clip, clip) before the binary one, as configs/_base_/recipe_basic.py does, or expect little of the '
            'start'
        )
    elif activation in STEPS and convs:
        real = (name for name, kind in REAL_ACTIVATIONS.items() if type(convs[0].activation) is kind)
        ours = 'sign' if convs[0].binary_input else next(real, '')
        if ours in STEPS and STEPS.index(ours) - STEPS.index(activation) not in (0, 1):
            yield (
                f'the weights were trained behind {activation} and the model has {ours}: it begins at the accuracy of '
                f'chance; the recipe goes from one to the next of {", ".join(STEPS)}, and trains at each'
            )
    if structure and structures and {structure} != structures:
        ours = ', '.join(sorted(structures))
        yield (
            f'the weights were trained with structure={structure!r} and the model has {ours!r}, whose shortcuts start '
            'and end elsewhere: it begins at the accuracy of chance, and needs a whole training, no fine-tuning'
        )
    if origin is not None and layout != STOCK:
        yield from _other_function(model, origin, tensors)


def _other_function(model: nn.Module, origin: Origin, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Differences that are in no tensor, of backbones and of their images."""
    ours = getattr(model, 'backbone', model)
    theirs = backbone_of(origin)
    if theirs is None:
        yield 'the network of the config in the file cannot be built here: strides, norms and rules were not compared'
        return
    inner = {name.removeprefix('backbone.') if ours is not model else name: each for name, each in tensors.items()}
    for what, found in (('with', differences(theirs, ours)), ('by the rule', other_weights(theirs, ours, inner))):
        for name, then, now in found[:1]:
            others = f' (and {len(found) - 1} more)' if found[1:] else ''
            yield (
                f'the weights were trained {what} {name} = {then}, and the model has {now}{others}: it computes '
                'something else with the same weights, which only training makes good'
            )
    images = [seen(preprocessor_of(origin)), seen(getattr(model, 'data_preprocessor', None))]
    if None not in images and images[0] != images[1]:
        yield f'the weights were trained on images as {images[0]}, and the model sees {images[1]}'


def check_types(value: Any, source: str) -> None:
    """Refuse importable names in a config: mmengine would import and call ``dict(type='os.system', ...)``.

    Raises:
        InputError: there is one, or the scope of a library that is none of OpenMMLab's.
    """
    if isinstance(value, Mapping):
        kind = value.get('type')
        if isinstance(kind, str) and '.' in kind and kind.rpartition('.')[0] not in MODULE2PACKAGE:
            raise InputError(f'{source}: the config in it names {kind}, which is no registered name: give CONFIG')
        for key in ('default_scope', '_scope_'):  # mmengine would import SCOPE.registry
            if value.get(key) not in (None, 'mmengine', *MODULE2PACKAGE):
                raise InputError(
                    f'{source}: the config in it has {key}={value[key]!r}, no library it knows: give CONFIG'
                )
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ():
        check_types(item, source)


def backbone_of(origin: Origin) -> nn.Module | None:
    """The backbone, or the whole network without one, that a checkpoint was saved as; without numbers.

    None where it cannot be built here.
    """
    network = origin.config.get('model') or {}
    with torch.device('meta'):
        built = _built(network.get('backbone') or network, origin)
    if built is None:
        return None
    for phase in origin.phases.values():
        if phase in WEIGHT_BINARIZERS.classes:
            for _, conv in binary_convolutions(built):
                conv.weight_binarizer = WEIGHT_BINARIZERS.build(phase)
        elif phase in PHASES:
            set_phase(built, phase)
    return built


def preprocessor_of(origin: Origin) -> nn.Module | None:
    """The data preprocessor of a checkpoint's training; None where it is not told, or cannot be built here."""
    network = origin.config.get('model') or {}
    config = network.get('data_preprocessor') or origin.config.get('data_preprocessor')
    return _built(config, origin) if config else None


def _built(config: Any, origin: Origin) -> nn.Module | None:
    kind = config.get('type') if isinstance(config, Mapping) else None
    # A type that is not registered, or takes other arguments by now, is another version's or package's.
    with suppress(InputError, TypeError, ValueError, LookupError):
        check_types([config, {'default_scope': origin.config.get('default_scope')}], '')
        with DefaultScope.overwrite_default_scope(origin.config.get('default_scope') or 'mmengine'):
            if isinstance(kind, str) and MODELS.get(kind) is not None:
                return MODELS.build(dict(config))
    return None


def differences(theirs: nn.Module, ours: nn.Module) -> list[tuple[str, Any, Any]]:
    """Constants that two networks have under one name and not in one value: ``(name, theirs, ours)``."""
    named = {name: dict(_constants(module)) for name, module in ours.named_modules()}
    return [
        (f'{name}.{key}' if key else name, value, named[name][key])
        for name, module in theirs.named_modules()
        for key, value in _constants(module)
        if key in named.get(name, {}) and named[name][key] != value
    ]


def _constants(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Those of TorchScript, of a module with parameters; of a leaf without any its text, under ''.

    The activation in the place of a sign is left out, which the steps of the recipe change.
    """
    if isinstance(module, BinaryConv2d) and module.binary_input:
        yield 'type', type(module).__name__
    if next(module.parameters(recurse=False), None) is not None:
        yield from ((k, getattr(module, k)) for k in getattr(module, '__constants__', ()) if k not in NOT_OF_THE_OUTPUT)
    elif next(module.children(), None) is None and isinstance(module, (nn.Identity, nn.MaxPool2d, nn.AvgPool2d)):
        yield '', str(module)


def other_weights(theirs: nn.Module, ours: nn.Module, tensors: Mapping[str, Tensor]) -> list[tuple[str, Any, Any]]:
    """1-bit convolutions whose weight of the same latent one is another, and the rules: ``(name, theirs, ours)``.

    Args:
        tensors: latent weights under the names of ``ours``. Those of +-1 are one under every rule.
    """
    found = []
    named = dict(ours.named_modules())
    for name, conv in theirs.named_modules():
        own, latent = named.get(name), tensors.get(f'{name}.weight')
        if isinstance(conv, BinaryConv2d) and isinstance(own, BinaryConv2d) and latent is not None:
            rules = [each.weight_binarizer if each.binary_weight else None for each in (conv, own)]
            values = [latent if rule is None else rule(latent) for rule in rules]
            if rules[0] is not None and not torch.allclose(values[0], values[1], rtol=1e-4, atol=0):
                found.append((name, rules[0], 'real weights' if rules[1] is None else rules[1]))
    return found


def seen(preprocessor: nn.Module | None) -> str | None:
    """Order of channels, means and deviations of what a network sees, in words; None where it is not normalised."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return None
    # Pipelines in front of OpenMMLab's preprocessors read pictures as OpenCV does.
    turned = getattr(preprocessor, '_channel_conversion', False)
    order = 'BGR' if isinstance(preprocessor, ImgDataPreprocessor) and not turned else 'RGB'
    return f'{order}, mean {_numbers(mean)}, deviation {_numbers(std)}'


def _numbers(values: Tensor) -> str:
    found = [f'{value:g}' for value in values.flatten().tolist()]
    return ' '.join(found[:1] if len(set(found)) == 1 else found)
