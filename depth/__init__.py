"""Monocular depth on a 1-bit backbone: KITTI data, losses, head, metrics and commands.

Importing this package registers its networks, datasets and metric in mmengine's root registries; a config needs
``custom_imports = dict(imports=['bireal_plugin', 'depth'])``.
"""

from depth import (
    depth_metric,
    garg_loss,
    head,
    network,
    photometric_loss,
    preprocessor,
    sized_network,
    stereo_pairs,
    street_pairs,
    unet_head,
)

__all__ = [
    'depth_metric',
    'garg_loss',
    'head',
    'network',
    'photometric_loss',
    'preprocessor',
    'sized_network',
    'stereo_pairs',
    'street_pairs',
    'unet_head',
]
