"""Every config that mmdet 3.3.0 ships with a ResNet backbone: another backbone type, and nothing else changed.

All of it without numbers, on the meta device.
"""

import copy
import functools
import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from bireal_plugin.errors import InputError
from bireal_plugin.models import BiRealResNet
from tests.asked_once import once

mmdet = pytest.importorskip('mmdet', reason='mmdet, of the extra det, is not installed')
if mmdet.__version__ != '3.3.0':
    pytest.skip(f'the counts are those of mmdet 3.3.0, not {mmdet.__version__}', allow_module_level=True)

from mmdet.models import ResNet  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402

SHIPPED = Path(mmdet.__file__).parent / '.mim'


@pytest.fixture(scope='module', autouse=True)
def mmdets_folder():
    """The working directory from which mmdet's configs name each other; temporary files stay in memory.

    A base of many configs is read once, weights that have no numbers are not drawn, and norms, which change no shape,
    are not run.
    """
    read = functools.cache(Config._file2dict)
    register_all_modules(init_default_scope=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SHIPPED)
        if Path('/dev/shm').is_dir():
            patch.setattr(tempfile, 'tempdir', '/dev/shm')
        patch.setattr(Config, '_file2dict', lambda *given, **named: copy.deepcopy(read(*given, **named)))
        for draw in ('normal_', 'uniform_'):
            patch.setattr(torch.Tensor, draw, lambda weight, *_, **__: weight)
        patch.setattr(F, 'batch_norm', lambda x, *_, **__: x)
        yield


def resnets(node):
    """Every plain ResNet in a config, however deep: detectors nest in trackers, and some have a teacher."""
    if isinstance(node, dict):
        if node.get('type') == 'ResNet':
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from resnets(child)


def as_text(options):
    return json.dumps(options, sort_keys=True)


@pytest.fixture(scope='module')
def shipped(mmdets_folder):
    """``{name: model}`` of the configs with a ResNet, and the names of those that cannot be read."""
    models, unreadable = {}, set()
    for path in sorted(Path('configs').rglob('*.py')):
        name = str(path.relative_to('configs'))
        try:
            model = Config.fromfile(path, import_custom_modules=False).get('model')
        except (FileNotFoundError, ModuleNotFoundError):
            unreadable.add(name)
            continue
        if any(resnets(model)):
            model.pop('teacher_ckpt', None)  # an address that would be downloaded
            models[name] = model.to_dict()
    return models, unreadable


@pytest.fixture(scope='module')
def distinct_models(shipped):
    """``[(model, number of configs with it), ...]``"""
    models = shipped[0].values()
    count = Counter(map(as_text, models))
    return [(model, count[text]) for text, model in {as_text(model): model for model in models}.items()]


@pytest.fixture(scope='module')
def keyword_sets(shipped):
    """``[(keywords of a ResNet, number of backbones with them), ...]``; where weights come from is left out."""
    sets = [
        {key: value for key, value in backbone.items() if key not in ('type', 'init_cfg')}
        for model in shipped[0].values()
        for backbone in resnets(model)
    ]
    count = Counter(map(as_text, sets))
    return [(options, count[text]) for text, options in {as_text(options): options for options in sets}.items()]


def swapped(model):
    model = copy.deepcopy(model)
    for backbone in resnets(model):
        backbone['type'] = 'BiRealResNet'
    return model


def obstacle(model):
    """What stops mmdet from building ``model``, or None."""
    try:
        with torch.device('meta'):
            MODELS.build(ConfigDict(copy.deepcopy(model), _scope_='mmdet'))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return error
    return None


def refused_keyword(error):
    return str(error).partition('does not take ')[2].partition(':')[0]


def test_nearly_all_configs_are_read(shipped):
    models, unreadable = shipped
    assert len(models) == 461
    # The bases of these are missing in the package; those under rtmdet/classification need mmpretrain.
    assert {name for name in unreadable if 'rtmdet/classification' not in name} == {
        'bytetrack/bytetrack_yolox_x_8xb4-amp-80e_crowdhuman-mot17halftrain_test-mot17test.py',
        'sort/faster-rcnn_r50_fpn_8xb2-4e_mot17train_test-mot17train.py',
        'sort/faster-rcnn_r50_fpn_8xb2-8e_mot20halftrain_test-mot20halfval.py',
        'sort/faster-rcnn_r50_fpn_8xb2-8e_mot20train_test-mot20train.py',
    }


def test_every_detector_builds_with_the_type_swapped_or_is_refused_for_a_reason(distinct_models, monkeypatch):
    monkeypatch.setitem(ROOT.module_dict, 'BiRealResNet', once(BiRealResNet))  # many detectors have the same
    outcomes, ours = Counter(), []
    for model, configs in distinct_models:
        error = obstacle(swapped(model))
        if error is None:
            outcomes['built'] += configs
        elif isinstance(error, InputError):
            outcomes[refused_keyword(error)] += configs
        else:  # a package or a process group that is absent: then mmdet's own model meets the same
            outcomes['not built by mmdet either'] += configs
            stock = obstacle(model)
            if (type(stock), str(stock)) != (type(error), str(error)):
                ours.append(f'{error!r}, where mmdet has {stock!r}')
    assert ours == []
    assert outcomes.pop('built') + outcomes.pop('not built by mmdet either', 0) == 420
    assert outcomes == {'dcn': 23, 'plugins': 12, 'conv_cfg': 6}


def test_every_backbone_builds_or_is_refused_for_a_reason(keyword_sets):
    outcomes, sets = Counter(), Counter()
    for options, backbones in keyword_sets:
        try:
            with torch.device('meta'):
                BiRealResNet(**options)
        except InputError as error:
            reason = refused_keyword(error)
        else:
            reason = 'built'
        outcomes[reason] += backbones
        sets[reason] += 1
    assert outcomes == {'built': 422, 'dcn': 23, 'plugins': 12, 'conv_cfg': 6}
    assert sets == {'built': 35, 'dcn': 11, 'plugins': 10, 'conv_cfg': 2}


def features(net):
    """Shapes from an image whose sides no stride divides."""
    net.eval()  # mmdet's returns nothing
    with torch.no_grad():
        return [tuple(output.shape) for output in net(torch.empty(1, 3, 97, 130, device='meta'))]


def frozen(net):
    """Of the stem and of each stage: are convolutions trained, are norms, and do their statistics move?"""
    net.train()
    rows = []
    for part in (net.conv1, *(getattr(net, f'layer{i + 1}') for i in range(net.num_stages))):
        convs = [p.requires_grad for m in part.modules() if isinstance(m, nn.Conv2d) for p in m.parameters()]
        norms = [m for m in part.modules() if isinstance(m, (_NormBase, nn.GroupNorm))]
        trained = [p.requires_grad for m in norms for p in m.parameters()]
        moving = [m.training for m in norms if isinstance(m, _NormBase)]
        rows.append(tuple(set(each) for each in (convs, trained, moving)))
    return rows


@pytest.fixture(scope='module')
def pairs(keyword_sets):
    """``[(keywords, BiRealResNet, ResNet), ...]`` of every distinct set of keywords that is not refused."""
    result = []
    for options, _ in keyword_sets:
        if not any(options.get(key) for key in ('dcn', 'plugins', 'conv_cfg')):
            options = {'norm_eval': False, **options}  # the one default that differs
            with torch.device('meta'):
                result.append((options, BiRealResNet(**options), ResNet(**options)))
    return result


def test_channels_and_strides_are_those_of_resnet(pairs):
    assert len(pairs) == 35
    assert [options for options, ours, stock in pairs if features(ours) != features(stock)] == []


def test_what_is_frozen_is_what_resnet_freezes(pairs):
    assert [options for options, ours, stock in pairs if frozen(ours) != frozen(stock)] == []
