"""Stages and blocks as hosts use them: called, hooked, sliced, compiled and recomputed as those of any ResNet."""

import copy
from functools import partial

import pytest
import timm
import torch
import torch.distributed as dist
import torchvision
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from bireal_plugin import InputError, binarize, fold
from bireal_plugin.binary import binary_convolutions
from bireal_plugin.models import BiRealResNet
from bireal_plugin.models.stages import Block, Stage
from tests.models.hosts import SECOND_STREAM_TRACED, tiny_basic, tiny_bottleneck

STRUCTURES = ['bireal', 'resnet', 'plain']
SHAPE = (1, 3, 64, 64)
CASES = [(depth, structure) for depth in (18, 50) for structure in STRUCTURES]


def network(depth, **options):
    torch.manual_seed(0)
    return BiRealResNet(depth, base_channels=8, **options)


def images(seed=1):
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def gradients(net, run, x):
    net.zero_grad()
    run(x).square().mean().backward()
    return {name: p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize(('depth', 'structure'), CASES)
def test_a_hook_on_a_stage_or_a_block_fires_once_with_the_feature_map(depth, structure):
    net, seen = network(depth, structure=structure).eval(), []
    names = ['layer1', 'layer4', 'layer2.0', 'layer4.1']
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda _, x, y, name=name: seen.append((name, y)))
    outputs = net(images())
    assert sorted(name for name, _ in seen) == sorted(names)
    maps = dict(seen)
    assert all(isinstance(y, torch.Tensor) for y in maps.values())
    assert torch.equal(maps['layer1'], outputs[0])
    assert torch.equal(maps['layer4'], outputs[3])
    assert maps['layer2.0'].shape == outputs[1].shape


@pytest.mark.parametrize('feature_cls', ['hook', 'list', 'dict', 'fx'])
@pytest.mark.parametrize('depth', [18, 50])
def test_every_feature_extractor_of_timm_gives_the_same_maps(depth, feature_cls):
    def made(kind):
        torch.manual_seed(0)
        name = f'bireal_resnet{depth}'
        return timm.create_model(name, features_only=True, feature_cls=kind, base_channels=8).eval()

    x = images()
    maps, expected = made(feature_cls)(x), made('getter')(x)
    maps = list(maps.values()) if isinstance(maps, dict) else maps
    assert len(maps) == len(expected) == 5
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))


@pytest.mark.parametrize('depth', [18, 50])
def test_torchvisions_feature_extractors_give_the_same_maps(depth):
    net, x = network(depth).eval(), images()
    expected = net(x)
    getter = torchvision.models._utils.IntermediateLayerGetter(net, {'layer2': 'b', 'layer4': 'd'})
    graph = torchvision.models.feature_extraction.create_feature_extractor(net, {'layer2': 'b', 'layer4': 'd'})
    for maps in (getter(x), graph(x)):
        assert torch.equal(maps['b'], expected[1])
        assert torch.equal(maps['d'], expected[3])


def binarized(make, **options):
    model = make()
    binarize(model, shape=(3, 64, 64), **options)
    return model


TRACED = {
    'basic': lambda: network(18),
    'padded transitions': lambda: network(20, transition='pad'),
    'two streams, real': lambda: network(50, activation='leaky_clip', weights='real'),
    'XNOR-Net': lambda: network(18, conv='XNORConv2d'),
    'ABC-Net': lambda: network(18, conv='ABCConv2d'),
    'ReActNet': lambda: network(18, rsign=True, rprelu=True),
    'recomputed': lambda: network(18, with_cp=True).train(),
    **{f'timm basic, {structure}': lambda s=structure: binarized(tiny_basic, structure=s) for structure in STRUCTURES},
    **{
        f'torchvision, {structure}': lambda s=structure: binarized(tiny_bottleneck, structure=s)
        for structure in STRUCTURES
    },
    'folded': lambda: fold(network(50), SHAPE),
    'folded twin': lambda: fold(binarized(tiny_bottleneck), SHAPE),
    'folded XNOR-Net': lambda: fold(network(18, conv='XNORConv2d'), SHAPE),
    'folded ABC-Net': lambda: fold(network(18, conv='ABCConv2d'), SHAPE),
}


@pytest.mark.parametrize('name', TRACED)
def test_a_symbolic_trace_computes_the_same_and_keeps_1_bit_convolutions_whole(name):
    torch.manual_seed(0)
    net, x = TRACED[name](), images()
    graph = torch.fx.symbolic_trace(net)
    got, want = graph.eval()(x), net.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    convs = [name for name, _ in binary_convolutions(net)]
    assert [node.target for node in graph.graph.nodes if node.target in convs] == convs


@pytest.mark.parametrize('depth', [18, 50])
def test_children_in_a_row_are_the_network(depth):
    net = timm.create_model(f'bireal_resnet{depth}', base_channels=8).eval()
    x = images()
    row = nn.Sequential(*list(net.children())[:-2])
    assert torch.equal(row(x), net.forward_features(x))
    blocks = nn.Sequential(net.conv1, net.bn1, net.maxpool, *net.layer1, *net.layer2, net.layer3[:2], net.layer3[2:])
    assert torch.equal(blocks(x), BiRealResNet.forward(net, x)[2])


@pytest.mark.parametrize('depth', [18, 50])
def test_a_compiled_stage_computes_the_same(depth):
    net, x = network(depth).eval(), images()
    expected, whole = net(x), depth == 18 or SECOND_STREAM_TRACED
    net.layer1 = torch.compile(net.layer1, backend='aot_eager', fullgraph=whole)
    net.layer2.compile(backend='eager', fullgraph=whole)
    assert all(torch.equal(a, b) for a, b in zip(net(x), expected, strict=True))


@pytest.fixture
def mesh(tmp_path):
    """One process of CPUs, for FSDP."""
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield dist.device_mesh.init_device_mesh('cpu', (1,))
    dist.destroy_process_group()


@pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, 'record_event'),
    reason='fully_shard on CPUs calls record_event of torch.cpu.Stream, which torch 2.6 lacks',
)
@pytest.mark.parametrize('part', [Stage, Block])
@pytest.mark.parametrize('depth', [18, 50])
def test_fully_sharded_parts_train_alike(mesh, depth, part):
    net, x = network(depth).double().train(), images().double()
    sharded = copy.deepcopy(net)
    for module in [module for module in sharded.modules() if isinstance(module, part)]:
        fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    for each in (net, sharded, sharded):  # twice, since weights are put together and parted again
        each.zero_grad()
        sum(output.square().sum() for output in each(x)).backward()
    for ours, theirs in zip(net.parameters(), sharded.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad.full_tensor(), ours.grad)


NAMES = [['layer1'], ['layer2', 'layer3'], ['layer1.0', 'layer2.1'], ['layer1', 'layer1.0']]


@pytest.mark.parametrize('modules', NAMES)
@pytest.mark.parametrize(('depth', 'structure'), CASES)
def test_activation_checkpointing_by_name_recomputes_and_keeps_every_gradient(depth, structure, modules):
    net, x = network(depth, structure=structure).train(), images()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0  # statistics would be updated twice, as with any network
    expected = gradients(net, lambda x: net(x)[-1], x)
    turn_on_activation_checkpointing(net, modules)
    calls = []
    conv = net.get_submodule(modules[-1]).get_submodule('conv1' if '.' in modules[-1] else '0.conv1')
    conv.register_forward_hook(lambda *_: calls.append(1))
    got = gradients(net, lambda x: net(x)[-1], x)
    assert len(calls) == 2 + (len(modules) == 2 and modules[1].startswith(f'{modules[0]}.'))
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name])


@pytest.mark.parametrize('implementation', CheckpointImpl)
@pytest.mark.parametrize('kind', [Block, Stage])
@pytest.mark.parametrize(('depth', 'structure'), CASES)
def test_wrappers_of_torch_recompute_blocks_and_stages(depth, structure, kind, implementation):
    net, x = network(depth, structure=structure).train(), images()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0
    parameters = list(net.parameters())
    expected = list(gradients(net, lambda x: net(x)[-1], x).values())
    wrap = partial(checkpoint_wrapper, checkpoint_impl=implementation)
    apply_activation_checkpointing(net, checkpoint_wrapper_fn=wrap, check_fn=lambda module: isinstance(module, kind))
    gradients(net, lambda x: net(x)[-1], x)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize('target', ['layer4', 'layer4.1', 'layer2'])
@pytest.mark.parametrize('depth', [18, 50])
def test_grad_cam(depth, target):
    """Weights of the map are the mean gradients of a class's score, taken by a hook on the tensor."""
    torch.manual_seed(0)
    net = timm.create_model(f'bireal_resnet{depth}', base_channels=8, num_classes=5).eval()
    taken = {}

    def keep(module, x, y):
        taken['map'] = y
        y.register_hook(lambda grad: taken.update(grad=grad))

    net.get_submodule(target).register_forward_hook(keep)
    net(images())[:, 3].sum().backward()
    weights = taken['grad'].mean((2, 3), keepdim=True)
    cam = (weights * taken['map']).sum(1)
    assert cam.shape == (2, *taken['map'].shape[2:])
    if target == 'layer2':
        return
    # Behind the last feature map stand the mean over its pixels and the linear layer, whatever the image.
    pixels = taken['map'][0, 0].numel()
    if target == 'layer4':
        torch.testing.assert_close(weights[0].flatten(), net.fc.weight[3] / pixels)


def converted():
    torch.manual_seed(0)
    block = torchvision.models.resnet.Bottleneck
    model = torchvision.models.resnet.ResNet(block, [1, 1, 1, 1], num_classes=5, width_per_group=8)
    binarize(model, shape=(3, 32, 32))
    return model


@pytest.mark.parametrize('make', [lambda: network(50), converted])
def test_reentrant_checkpointing_that_would_lose_the_narrow_streams_gradient_is_refused(make):
    net = make()
    x = net.maxpool(net.bn1(net.conv1(images())))
    x = checkpoint(net.layer1, x, use_reentrant=True)
    with pytest.raises(InputError, match=r'layer2\.0: the feature map does not carry its second stream'):
        net.layer2(x)


def test_a_stage_without_gradients_may_come_before_one_with():
    net = network(50)
    with torch.no_grad():
        x = net.layer1(net.maxpool(net.bn1(net.conv1(images()))))
    net.layer2(x).sum().backward()
    assert net.layer2[0].narrow_shortcut.weight.grad is not None
