"""A depth network so small that a test can make, export and run it: random weights, as alive as trained ones."""

from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.registry import MODELS

import bireal_plugin.depth  # noqa: F401  registers the networks
from bireal_plugin.depth.inference.shipping import load_depth_network
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.shipping.ship import Order, ship
from bireal_plugin.studies.speed.networks import with_trained_statistics

SIZE = (32, 96)
TINY = """
custom_imports = dict(imports=['bireal_plugin.depth'])
model = dict(
    type='DepthNetwork',
    data_preprocessor=dict(type='StereoPreprocessor'),
    backbone=dict(type='BiRealResNet', depth=18, base_channels=8, num_stages=2, out_indices=(0, 1){more}),
    head=dict(type='FCNSkipHead', factors=(0.3,), stride=8),
    loss=dict(type='GargLoss'),
)
test_dataloader = dict(dataset=dict(type='StreetPairs', split='test', length=2, size={size}))
"""


@dataclass(frozen=True)
class Tiny:
    """The two files that training leaves."""

    config: Path
    checkpoint: Path


def tiny_depth(folder: Path, *, real: bool = False) -> Tiny:
    """A config and a checkpoint in ``folder``; 1-bit, or the same with real weights and ReLU."""
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    config.write_text(TINY.format(size=SIZE, more=", activation='relu', weights='real'" if real else ''))
    content: dict = {}
    exec(config.read_text(), content)
    torch.manual_seed(0)
    model = with_trained_statistics(MODELS.build(content['model']))
    for score in model.head.scores:  # zero at first, which would make every map flat
        torch.nn.init.normal_(score.weight, 0, 0.03)
    model.head.scores[-1].bias.data.fill_(1.0)
    told = StreetPairs('train', 1, SIZE).metainfo
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=told)), checkpoint)
    return Tiny(config, checkpoint)


def file_of(tiny: Tiny, format: str, folder: Path) -> Path:
    """The network as a file ``net.*`` of a format."""
    _, problems, _ = ship(
        Order([format], ['f32'], folder, 'net'), lambda: load_depth_network(tiny.config, tiny.checkpoint)
    )
    assert problems == []
    return folder / f'net{ENGINES[format].suffix}'
