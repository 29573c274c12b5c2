"""Monocular depth on a 1-bit backbone: KITTI data, losses, networks, metrics, and inference on photographs.

Importing this package registers its networks, losses, datasets and metric in mmengine's root registries; a config needs
``custom_imports = dict(imports=['bireal_plugin.depth'])``.
"""

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.evaluation.metrics import DepthMetric
from bireal_plugin.depth.evaluation.training_pairs import TrainingPairsHook
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.kitti.stereo_pairs import StereoPairs
from bireal_plugin.depth.losses import GargLoss, PhotometricLoss
from bireal_plugin.depth.networks.heads import FCNSkipHead, UNetHead
from bireal_plugin.depth.networks.network import DepthNetwork
from bireal_plugin.depth.street.pairs import StreetPairs

__all__ = [
    'Camera',
    'DepthMetric',
    'DepthNetwork',
    'FCNSkipHead',
    'GargLoss',
    'PhotometricLoss',
    'Predictor',
    'StereoPairs',
    'StreetPairs',
    'TrainingPairsHook',
    'UNetHead',
]
