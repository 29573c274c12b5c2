"""Monocular depth on a 1-bit backbone: KITTI data, losses, networks, metrics, and inference on photographs.

Importing this package registers its networks, datasets and metric in mmengine's root registries; a config needs
``custom_imports = dict(imports=['bireal_plugin.depth'])``.
"""

from bireal_plugin.depth.evaluation import metric
from bireal_plugin.depth.kitti import stereo_pairs
from bireal_plugin.depth.losses import garg, photometric
from bireal_plugin.depth.networks import fcn_head, network, unet_head
from bireal_plugin.depth.street import pairs

__all__ = [
    'fcn_head',
    'garg',
    'metric',
    'network',
    'pairs',
    'photometric',
    'stereo_pairs',
    'unet_head',
]
