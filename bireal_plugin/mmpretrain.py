"""Classifiers of this package in mmpretrain's own list of models; importing this file enters them.

``list_models('*bireal*')`` then names them and ``get_model`` builds them; ``inference_model`` and ``get_model(...,
pretrained=True)`` are for those of ``configs/mmpretrain/``, which are written in mmpretrain's terms.
"""

from __future__ import annotations

from mmpretrain.apis.model import ModelHub

from bireal_plugin.training.config import CONFIGS

FOLDERS = ('.', 'baselines', 'mmpretrain')  # of configs of classifiers

for folder in FOLDERS:
    ModelHub.register_model_index(CONFIGS / folder / 'metafile.yml', config_prefix=CONFIGS.parent)
