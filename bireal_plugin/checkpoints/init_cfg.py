"""``init_cfg=dict(type='Pretrained', ...)`` of the backbone: mmengine's meaning, with names mapped and a report."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from torch import nn

from bireal_plugin.checkpoints.file import state_dict_of
from bireal_plugin.checkpoints.loading import fetch_checkpoint, load_weights, part_of
from bireal_plugin.hosts.mmengine_private import note_initialisation


class ReportedPretrained(PretrainedInit):
    """mmengine's ``Pretrained`` with the same arguments; mmengine's own loads what fits and says nothing.

    Raises:
        InputError: (on the call) the checkpoint cannot be read, has nothing under ``prefix``, or nothing of it fits.
    """

    def __call__(self, module: nn.Module) -> None:
        state = state_dict_of(fetch_checkpoint(self.checkpoint, map_location=self.map_location), self.checkpoint)
        if self.prefix is not None:
            state = part_of(state, self.prefix, self.checkpoint)
        report = load_weights(module, state, source=self.checkpoint, strict=False)
        level = logging.INFO if report.complete and not report.advice else logging.WARNING
        print_log(str(report), logger='current', level=level)
        note_initialisation(module, self)


def reporting(init_cfg: Any) -> Any:
    """``init_cfg`` with every ``Pretrained`` replaced by ours and put last, where mmengine puts it."""
    if not init_cfg:
        return init_cfg
    configs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)
    pretrained = [config for config in configs if config['type'] in ('Pretrained', PretrainedInit)]
    others = [config for config in configs if config not in pretrained]
    return [*others, *(dict(config, type=ReportedPretrained) for config in pretrained)]
