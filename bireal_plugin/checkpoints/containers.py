"""Objects that trainers store beside the weights: read as plain dictionaries or left out, never made.

``torch.load(weights_only=True)`` refuses every class but its own, and so the files of most trainers, since arguments
and logs stand in them. Here inert classes take the names of such containers; all other names are refused as before.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

import torch

# Classes of what timm, torchvision, OpenMMLab, Lightning and others store beside the weights; then of dictionaries.
PLAIN_OBJECTS = (
    *('argparse.Namespace', 'types.SimpleNamespace', 'datetime.datetime', 'builtins.getattr'),
    *('pathlib.PosixPath', 'pathlib.WindowsPath', 'pathlib.PurePosixPath', 'pathlib._local.PosixPath'),
    *('numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar', 'numpy.dtype', 'numpy.ndarray'),
    *('numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct', 'numpy._core.numeric._frombuffer'),
    *(f'numpy.dtypes.{kind}DType' for kind in ('Float64', 'Float32', 'Float16', 'Int64', 'Int32', 'UInt8', 'Bool')),
    *('mmengine.logging.history_buffer.HistoryBuffer', 'mmengine.config.config.Config', 'mmcv.utils.config.Config'),
    *('omegaconf.dictconfig.DictConfig', 'omegaconf.listconfig.ListConfig', 'omegaconf.base.ContainerMetadata'),
    *('omegaconf.base.Metadata', 'omegaconf.nodes.AnyNode', 'typing.Any', 'builtins.list', 'builtins.dict'),
)
PLAIN_DICTIONARIES = (
    *('collections.defaultdict', 'mmengine.config.config.ConfigDict', 'mmcv.utils.config.ConfigDict'),
    *('addict.addict.Dict', 'yacs.config.CfgNode', 'fvcore.common.config.CfgNode', 'easydict.EasyDict', 'box.box.Box'),
    *('lightning_fabric.utilities.data.AttributeDict', 'pytorch_lightning.utilities.parsing.AttributeDict'),
)


class Unread:
    """Stand-in for an object beside the weights, which ``torch.load`` makes instead; it keeps nothing of it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class PlainDictionary(Unread):
    """Stand-in for a class of dictionaries, whose objects become ordinary ones."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict(*(given for given in args if isinstance(given, dict)))


def plain_containers() -> AbstractContextManager[Any]:
    """Let ``torch.load(weights_only=True)`` read files in which trainers keep arguments and logs beside the weights.

    No class of theirs is imported or called: see ``Unread``.
    """
    allowed: list[Any] = [(Unread, name) for name in PLAIN_OBJECTS]
    return torch.serialization.safe_globals([*allowed, *((PlainDictionary, name) for name in PLAIN_DICTIONARIES)])


def drop_unread(value: Any) -> bool:
    """Take entries that are ``Unread`` out of dictionaries, in place; whether the value itself could not be read."""
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if drop_unread(item)]:
            del value[key]
    elif isinstance(value, (list, tuple)):
        return sum(map(drop_unread, value)) > 0  # of all items, whatever the first is
    return isinstance(value, Unread)
