"""Puts the operators where mmcv looks for its compiled ones, if nothing else is there."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import NoReturn

from mmengine.logging import print_log

from bireal_plugin.errors import InputError
from bireal_plugin.mmcv_operators import boxes, convolutions, formulas, roi_align

EXTENSION = 'mmcv._ext'
INSTALL = "MMCV_WITH_OPS=1 pip install --no-build-isolation 'bireal-plugin[det-compiled]' compiles mmcv, which has it"


def not_compiled() -> str:
    """In the place of a compiler's version, as mmcv reports it where it has no operators."""
    return 'n/a'


OPERATORS: dict[str, Callable] = {
    operator.__name__: operator
    for operator in (
        *(boxes.nms, boxes.softnms, boxes.nms_match),
        *(roi_align.roi_align_forward, roi_align.roi_align_backward),
        *(convolutions.deform_conv_forward, convolutions.deform_conv_backward_input),
        *(convolutions.deform_conv_backward_parameters,),
        *(convolutions.modulated_deform_conv_forward, convolutions.modulated_deform_conv_backward),
        *(convolutions.masked_im2col_forward, convolutions.masked_col2im_forward),
        *(formulas.sigmoid_focal_loss_forward, formulas.sigmoid_focal_loss_backward),
        *(formulas.ms_deform_attn_forward, formulas.ms_deform_attn_backward),
    )
} | dict.fromkeys(('get_compiler_version', 'get_compiling_cuda_version'), not_compiled)


def absent(name: str) -> Callable[..., NoReturn]:
    """The operator ``name`` that is only in the compiled mmcv; mmcv asks for it on import, and it refuses when called.

    Raises:
        AttributeError: the name is none of an operator, but one that Python looks for in any module.
    """
    if name.startswith('__'):
        raise AttributeError(f'module {EXTENSION!r} has no attribute {name!r}')

    def refuse(*_: object, **__: object) -> NoReturn:
        raise InputError(f"mmcv's operator {name} is not among those that bireal_plugin has for mmcv-lite; {INSTALL}")

    return refuse


class OperatorFinder(MetaPathFinder, Loader):
    """Finds ``mmcv._ext``. It stands behind all other finders, so that compiled operators are found before it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self, origin=__file__) if fullname == EXTENSION else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(OPERATORS, __getattr__=absent)
        print_log(
            'mmcv has no compiled operators: those of bireal_plugin, by torchvision and PyTorch, take their place',
            logger='current',
            level=logging.INFO,
        )


def offer_operators() -> None:
    """Let ``import mmcv.ops`` find the operators in an mmcv without compiled ones; nothing is imported until then."""
    if not any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        sys.meta_path.append(OperatorFinder())
