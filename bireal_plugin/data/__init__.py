"""Classification datasets read as users have them on disk, their transforms, and the sampler that repeats both.

Importing this package registers everything by class name in mmengine's ``DATASETS``, ``TRANSFORMS``, ``DATA_SAMPLERS``.
Detection, segmentation and depth data live with the code bases and the application that use them.
"""
# ruff: noqa: F401

from bireal_plugin.data.cifar10 import CIFAR10Files
from bireal_plugin.data.classification import ClassificationDataset
from bireal_plugin.data.digits import Digits
from bireal_plugin.data.fashion_mnist import FashionMNISTFiles
from bireal_plugin.data.imagenet import ImageNetFolder
from bireal_plugin.data.sampler import EpochSampler
from bireal_plugin.data.transforms import ImageToTensor8, PadCropFlip, ShorterSideCenterCrop, ShorterSideCropFlip
