"""The Runner of tools/train.py: mmengine's own, with atomic checkpoints, reported loading and a readable console."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner

from bireal_plugin.errors import InputError
from bireal_plugin.models.pretrained import load_weights
from bireal_plugin.training.checkpoint import read_checkpoint, state_dict_of


class _NoDumps(logging.Filter):
    """Keeps the environment and config dumps (hundreds of lines) out of the console; the log file has them."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage().count('\n') < 20


@RUNNERS.register_module()
class BiRealRunner(Runner):
    """mmengine's Runner; nothing of its loop, hooks or order is changed.

    * A checkpoint is written beside its place and renamed into it: an interrupted write leaves the earlier file.
    * Checkpoints are read with ``weights_only=True`` alone.
    * Loading says what matched and what did not; resuming, and ``load_strict=True`` in the config, demand all of it.
    """

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """mmengine's logger, without page-long dumps on the console."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_NoDumps())
        return logger

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """As mmengine's, atomic on local disks."""
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        partial = f'.{filename}.partial'
        try:
            super().save_checkpoint(out_dir, partial, *args, **kwargs)
            os.replace(Path(out_dir, partial), Path(out_dir, filename))
        finally:
            Path(out_dir, partial).unlink(missing_ok=True)

    def load_checkpoint(  # type: ignore[override]
        self, filename: str, map_location: Any = 'cpu', strict: bool = False, revise_keys: Any = None
    ) -> dict[str, Any]:
        """Load a file, ``torchvision://``, ``timm://`` or any other address mmengine knows into the model.

        Raises:
            InputError: the file cannot be read, fits nowhere, or (when strict) not completely.
        """
        remote = '://' in str(filename)
        if remote:
            checkpoint = CheckpointLoader.load_checkpoint(filename, map_location=map_location, logger=self.logger)
        else:
            checkpoint = read_checkpoint(filename, map_location=map_location)
        if not isinstance(checkpoint, dict):
            checkpoint = dict(checkpoint)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        resuming = bool(self.cfg.get('resume'))
        if resuming and not {'meta', 'message_hub'} <= checkpoint.keys():
            raise InputError(
                f'{filename} holds weights only and cannot be resumed; start from it with load_from instead'
            )
        if isinstance(checkpoint.get('message_hub'), Mapping) and 'log_scalars' not in checkpoint['message_hub']:
            raise InputError(
                f'{filename} was saved in another form; add PlainCheckpointHook to the config to resume it'
            )
        model = self.model.module if is_model_wrapper(self.model) else self.model
        strict = strict or resuming or self.cfg.get('load_strict', False)
        report = load_weights(model, state_dict_of(checkpoint, filename), source=str(filename), strict=strict)
        self._has_loaded = True
        self.logger.info(report)
        return checkpoint
