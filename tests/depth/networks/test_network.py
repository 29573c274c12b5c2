"""DepthNetwork: its modes, what training sees and prediction does not, folding, packing and export."""

import pytest
import torch
from mmengine.registry import MODELS

import bireal_plugin
from bireal_plugin.depth.networks.network import IMAGENET_MEAN, IMAGENET_STD
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.file import save_packed
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from tests.folding.test_fold import trained

FCN = dict(type='FCNSkipHead', factors=(0.5, 0.5, 0.5))
UNET = dict(type='UNetHead', channels=(16, 8, 8), scales=2)
HEADS = dict(fcn=FCN, unet=UNET, binary_unet=dict(UNET, binary=True))


def config(head='unet', *, loss='GargLoss', **backbone):
    return dict(
        type='DepthNetwork',
        backbone=dict(type='BiRealResNet', depth=18, base_channels=8, **backbone),
        head=HEADS[head],
        loss=loss if isinstance(loss, dict) else dict(type=loss),
        data_preprocessor=dict(type='StereoPreprocessor'),
    )


def network(*arguments, **options):
    """A network whose head says something, with statistics as after training."""
    torch.manual_seed(0)
    built = MODELS.build(config(*arguments, **options))
    for layer in getattr(built.head, 'scores', None) or built.head.outputs:
        torch.nn.init.normal_(layer.weight, 0, 0.05)
    return trained(built)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 2, 3, 64, 96), generator=generator, dtype=torch.uint8)
    return dict(left=images[0], right=images[1], focal=torch.full((2,), 56.0), name=['a', 'b'])


def test_preprocessor_normalises_inputs_and_keeps_images_in_0_to_1(batch):
    data = MODELS.build(dict(type='StereoPreprocessor'))(batch)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    for side, inputs in (('left', 'inputs'), ('right', 'right_inputs')):
        torch.testing.assert_close(data[inputs] * std + mean, batch[side].float())
        torch.testing.assert_close(data[side] * 255, batch[side].float())
    assert data['name'] == ['a', 'b']


def test_preprocessor_takes_single_images_too(batch):
    preprocessor = MODELS.build(dict(type='StereoPreprocessor'))
    single = preprocessor(dict(inputs=batch['left']))
    assert single.keys() == {'inputs'}
    assert torch.equal(single['inputs'], preprocessor(batch)['inputs'])


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('size', [(64, 96), (75, 131)])
def test_one_image_becomes_one_disparity_of_its_size(head, size):
    assert network(head)(torch.randn(2, 3, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize('head', HEADS)
def test_prediction_is_the_tensor_and_sees_the_left_image_alone(head, batch):
    net = network(head)
    data = net.data_preprocessor(batch)
    expected = net(data['inputs'])
    for given in (data, {**data, 'right': data['left'], 'right_inputs': data['inputs']}, dict(inputs=data['inputs'])):
        predictions = net(**given, mode='predict')
        assert torch.equal(torch.stack([prediction['disparity'] for prediction in predictions]), expected)


def test_loss_is_that_of_the_disparities(batch):
    net = network().train()
    data = net.data_preprocessor(batch)
    terms = net(**data, mode='loss')
    expected = net.loss(net.disparities(data['inputs']), data['left'], data['right'])
    assert terms.keys() == {'loss_warp', 'loss_smoothness'}
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name])


def test_the_second_view_comes_from_the_mirrored_right_image(batch):
    net = network(loss=dict(type='PhotometricLoss', consistency=1.0)).train()
    data = net.data_preprocessor(batch)
    mirrored = net.disparities(data['right_inputs'].flip(-1))
    expected = net.loss(net.disparities(data['inputs']), data['left'], data['right'], mirrored)
    torch.testing.assert_close(net(**data, mode='loss'), expected)


@pytest.mark.parametrize('loss', ['GargLoss', dict(type='PhotometricLoss', consistency=1.0)])
@pytest.mark.parametrize('head', HEADS)
def test_every_parameter_gets_a_gradient(head, loss, batch):
    net = network(head, loss=loss).train()
    sum(net(**net.data_preprocessor(batch), mode='loss').values()).backward()
    silent = {name for name, value in net.named_parameters() if value.grad is None}
    # Garg's loss reads the finest of the disparities alone.
    coarse = {'head.outputs.0.weight', 'head.outputs.0.bias'} if head != 'fcn' and loss == 'GargLoss' else set()
    assert silent == coarse


def test_loss_without_a_pair_is_refused(batch):
    with pytest.raises(InputError, match='needs a stereo pair'):
        network()(torch.zeros(1, 3, 64, 96), mode='loss')


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="not 'train'"):
        network()(torch.zeros(1, 3, 64, 96), mode='train')


def test_a_backbone_that_does_not_say_its_channels_is_refused():
    with pytest.raises(InputError, match='give in_channels in the head'):
        MODELS.build({**config(), 'backbone': torch.nn.Identity()})


@pytest.mark.parametrize('head', HEADS)
def test_folding_changes_nothing_but_the_form(head):
    net = network(head).double()
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    folded = fold(net, (1, 3, 64, 96))
    assert sum(isinstance(module, FoldedBinaryConv2d) for module in folded.modules()) == (
        19 if head == 'binary_unet' else 16
    )
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(x), net(x), rtol=1e-6, atol=1e-6)


def test_deployment_folds_in_place_once():
    net = network('binary_unet')
    x = torch.randn(1, 3, 64, 96)
    expected = fold(net)(x)
    net.switch_to_deploy()
    net.switch_to_deploy()
    assert net.deploy
    assert torch.equal(net(x), expected)


@pytest.mark.parametrize('head', HEADS)
def test_a_packed_file_holds_it(head, tmp_path):
    net = network(head)
    save_packed(net, config(head), tmp_path / 'net.safetensors')
    loaded = bireal_plugin.load(tmp_path / 'net.safetensors')
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded(x), fold(net)(x))
    assert loaded.data_preprocessor.mean.flatten().tolist() == pytest.approx(list(IMAGENET_MEAN))


def test_packed_files_of_the_former_class_name_are_read(tmp_path):
    net = network('fcn')
    save_packed(net, {**config('fcn'), 'type': 'SizedDepthNetwork', 'size': [64, 96]}, tmp_path / 'net.safetensors')
    assert bireal_plugin.load(tmp_path / 'net.safetensors').size == (64, 96)


@pytest.mark.parametrize('head', HEADS)
def test_the_exported_program_has_one_output_and_computes_the_same(head):
    folded = fold(network(head))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        program = torch.export.export(folded, (x,))
        assert len(program.graph_signature.output_specs) == 1
        torch.testing.assert_close(program.module()(x), folded(x))
