"""tools/export.py writes, verifies and marks; every mistake is one sentence."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import bireal_plugin
from bireal_plugin.checkpoints.file import read_checkpoint
from bireal_plugin.export import Session
from bireal_plugin.export.packed.file import load_packed
from bireal_plugin.shipping import artefacts
from bireal_plugin.shipping.network import load_network
from bireal_plugin.training.config import load_config
from bireal_plugin.training.trained import trained_config


@pytest.fixture(scope='module')
def checkpoint(finished_run):
    return finished_run.folder / 'bn' / 'epoch_2.pth'


@pytest.fixture
def export(run_tool, tiny_config, checkpoint, tmp_path):
    """``export('--format', ...)`` runs the command into a folder of its own."""

    def run(*arguments, config=tiny_config, weights=checkpoint):
        return run_tool('export.py', config, weights, '--out', tmp_path / 'out', *arguments)

    return run


def rows(ended):
    """The table, one dict per row."""
    lines = ended.out.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith('---'))
    ends = np.cumsum([len(part) + 2 for part in lines[rule].split('  ')])
    cut = lambda line: [line[end - width : end].strip() for end, width in zip(ends, np.diff([0, *ends]), strict=True)]  # noqa: E731
    names = cut(lines[rule - 1])
    table = []
    for line in lines[rule + 1 :]:
        if not line:
            break
        table.append(dict(zip(names, cut(line), strict=True)))
    return table


def test_the_packed_file_predicts_as_the_checkpoint(export, tiny_config, checkpoint, tmp_path):
    ended = export('--format', 'packed')
    assert ended.status == 0, ended.err
    config = trained_config(tiny_config, checkpoint)
    model = bireal_plugin.BiRealClassifier(**{key: value for key, value in config.model.items() if key != 'type'})
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])
    x = torch.randn(4, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(load_packed(tmp_path / 'out/tiny.safetensors')(x), model.eval()(x))
    assert [(row['format'], row['file'], row['verdict']) for row in rows(ended)] == [
        ('packed', 'tiny.safetensors', 'not verified')
    ]


@pytest.fixture(scope='module')
def verified(run_tool, tiny_config, checkpoint, tmp_path_factory):
    """Three formats, OpenVINO in three precisions, on the config's test data: the folder and how it ended."""
    for package in ('openvino', 'onnxruntime', 'nncf'):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp('verified')
    options = ['--format', 'packed,openvino,onnx', '--real-layers', 'f32,bf16,int8', '--verify', '--images', 40]
    options += ['--min-agreement', 0.95, '--batch', 4]
    return folder, run_tool('export.py', tiny_config, checkpoint, '--out', folder, *options)


def test_every_artefact_has_a_row(verified):
    names = ['packed', 'packed bf16', 'packed int8', 'openvino', 'openvino bf16', 'openvino int8', 'onnx']
    assert [row['format'] for row in rows(verified[1])] == names


def test_float_artefacts_are_verified_and_agree(verified):
    for row in rows(verified[1]):
        if row['format'] in ('packed', 'openvino', 'onnx'):
            assert row['verdict'] == 'verified'
            # Rounding may flip a sign, and so move an image or two of 40.
            assert float(row['agreement'].rstrip('%')) >= (100 if row['format'] == 'packed' else 95)
            assert float(row['layer error']) < 1e-5


def test_sizes_are_those_of_the_files(verified):
    folder, ended = verified
    for row in rows(ended):
        file = folder / row['file']
        size = file.stat().st_size
        if file.suffix == '.xml':
            size += file.with_suffix('.bin').stat().st_size
        assert float(row['MB']) == pytest.approx(size / 1e6, abs=0.005)


def test_top1_of_the_reference_is_what_training_measured(export, finished_run):
    """On all 200 test images."""
    ended = export('--format', 'packed', '--verify', '--images', 200, '--batch', 50)
    (row,) = rows(ended)
    expected = next(result['top1'] for result in finished_run.results if result['name'] == 'bn')
    assert float(row['reference'].rstrip('%')) == pytest.approx(expected, abs=1)  # rounding may move an image or two


def test_a_stage_before_the_last_is_exported_as_that_stage(export, finished_run, tmp_path):
    """Wherever its file lies: its weights are real numbers with a scale, which the last stage's network would drop."""
    binary = finished_run.folder / 'binary' / 'epoch_3.pth'
    assert export('--format', 'packed', weights=binary).status == 0
    moved = tmp_path / 'moved.pth'
    shutil.copy(binary, moved)
    assert export('--format', 'packed', '--name', 'other', weights=moved).status == 0
    ended = export('--format', 'packed', '--name', 'third', '--stage', 'bn', weights=moved)
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert 'with --stage' in ended.err
    out = tmp_path / 'out'
    one, two = (load_file(out / f'{name}.safetensors') for name in ('tiny', 'other'))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(('format', 'suffix'), [('openvino', '.xml'), ('onnx', '.onnx'), ('packed', '.safetensors')])
def test_a_file_of_another_network_is_caught_marked_and_kept(
    export, run_tool, tiny_config, checkpoint, tmp_path, monkeypatch, format, suffix
):
    """The exporter writes the network with another stem: as if its file had been mixed up."""
    if format != 'packed':
        pytest.importorskip('openvino' if format == 'openvino' else 'onnxruntime')
    content = read_checkpoint(checkpoint)
    content['state_dict']['backbone.conv1.weight'] *= -1
    torch.save(content, tmp_path / 'other.pth')
    ended = run_tool('export.py', tiny_config, tmp_path / 'other.pth', '--out', tmp_path / 'other', '--format', format)
    assert ended.status == 0, ended.err
    honest = artefacts.write

    def mixed_up(model, format, shape, path, **options):
        honest(model, format, shape, path, **options)
        for file in (tmp_path / 'other').iterdir():
            shutil.copy(file, path.parent / file.name)

    monkeypatch.setattr(artefacts, 'write', mixed_up)
    ended = export('--format', format, '--verify', '--images', 40)
    assert ended.status == 1
    assert rows(ended)[0]['verdict'] == 'FAILED'
    marker = tmp_path / f'out/tiny{suffix}.unverified'
    assert f'error: {marker.read_text().splitlines()[0]}\n' in ended.err
    assert (tmp_path / f'out/tiny{suffix}').read_bytes() == (tmp_path / f'other/tiny{suffix}').read_bytes()


def test_a_later_success_takes_the_mark_off(export, tmp_path):
    marker = tmp_path / 'out/tiny.safetensors.unverified'
    marker.parent.mkdir()
    marker.write_text('packed: wrong\n')
    assert export('--format', 'packed', '--verify', '--images', 20).status == 0
    assert not marker.exists()


def test_a_failure_in_one_precision_marks_the_file_of_both(verified):
    folder, ended = verified
    failed = {row['file'] for row in rows(ended) if row['verdict'] == 'FAILED'}
    assert {path.name for path in folder.glob('*.unverified')} == {f'{name}.unverified' for name in failed}
    assert ended.status == bool(failed)


def test_existing_files_are_not_overwritten(export, tmp_path):
    assert export('--format', 'packed').status == 0
    before = (tmp_path / 'out/tiny.safetensors').stat().st_mtime_ns
    ended = export('--format', 'packed')
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert 'tiny.safetensors exists; give another --out, --overwrite or --skip-existing' in ended.err
    assert (tmp_path / 'out/tiny.safetensors').stat().st_mtime_ns == before
    ended = export('--format', 'packed', '--real-layers', 'f32,f16', '--skip-existing')
    assert (ended.status, [row['file'] for row in rows(ended)]) == (0, ['tiny_f16.safetensors'])
    assert (tmp_path / 'out/tiny.safetensors').stat().st_mtime_ns == before


def test_a_format_that_fails_does_not_stop_the_others(export, tmp_path, monkeypatch):
    from bireal_plugin import errors

    monkeypatch.setattr(errors, 'find_spec', lambda name: None)
    ended = export('--format', 'onnx,packed', '--verify', '--images', 20)
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert ended.err.startswith('error: onnx: the onnx engine needs the package')
    assert [row['format'] for row in rows(ended)] == ['packed']
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['tiny.safetensors']


@pytest.mark.parametrize('folders', [('',), ('one', 'two')])
def test_images_of_a_folder_are_read_whatever_their_size_and_colour(export, tmp_path, folders):
    generator = np.random.default_rng(0)
    for folder in folders:
        (tmp_path / 'pictures' / folder).mkdir(parents=True, exist_ok=True)
        for i in range(6):
            pixels = generator.integers(256, size=(20 + i, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'pictures' / folder / f'{i}.png')
    ended = export('--format', 'packed', '--verify', tmp_path / 'pictures')
    assert ended.status == 0, ended.err
    assert 'top-1' not in rows(ended)[0]


def test_a_backbone_has_its_feature_maps(export, tiny_config, checkpoint, tmp_path):
    ended = export('--format', 'packed', '--part', 'backbone', '--verify', '--images', 4)
    assert ended.status == 0, ended.err
    assert float(rows(ended)[0]['feature error']) < 1e-5
    config = trained_config(tiny_config, checkpoint)
    whole = load_network(config, checkpoint).model
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        (want,) = whole.backbone(x)
    (got,) = Session(tmp_path / 'out/tiny.safetensors')(x)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-5)


BARE = """
_base_ = {base!r}
model = dict(_delete_=True, type='BiRealResNet', depth=18, in_channels=1, base_channels=4, stem='cifar')
stages = None
"""


def test_a_config_with_a_bare_backbone(export, tiny_config, checkpoint, tmp_path):
    content = read_checkpoint(checkpoint)['state_dict']
    state = {key.removeprefix('backbone.'): value for key, value in content.items() if 'backbone' in key}
    torch.save(dict(state_dict=state), tmp_path / 'backbone.pth')
    config = tmp_path / 'bare.py'
    config.write_text(BARE.format(base=str(tiny_config)))
    ended = export('--format', 'packed', '--verify', '--images', 4, config=config, weights=tmp_path / 'backbone.pth')
    assert ended.status == 0, ended.err
    outputs = Session(tmp_path / 'out/bare.safetensors')(torch.randn(1, 1, 16, 16))
    assert [array.shape for array in outputs] == [(1, 4, 16, 16), (1, 8, 8, 8), (1, 16, 4, 4), (1, 32, 2, 2)]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--format', 'coreml'], "there is no format 'coreml'; there are packed, c, openvino"),
        (['--real-layers', 'f64'], "there is no precision of real layers 'f64'; there are f32, f16, bf16, int8"),
        (['--format', 'onnx', '--real-layers', 'bf16'], 'onnx has real layers f32 and none of bf16'),
        (['--part', 'backbone+neck'], 'has no neck; leave --part out'),
        (['--stage', 'step1'], "there is no stage 'step1'; the stages are: float"),
        (['--stage', 'clip'], "was trained with model.backbone.activation = 'sign' (stage bn), but"),
        (['--format', 'packed', '--verify', 'nowhere'], 'the folder of images nowhere does not exist'),
        (['--cfg-options', 'model.backbone.depth=34'], 'these weights belong to another network'),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(export, arguments, words, tmp_path):
    ended = export(*arguments)
    assert (ended.status, ended.err.count('\n')) == (1, 1), ended.err
    assert ended.err.startswith('error: ')
    assert words in ended.err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('sizes', 'words'),
    [
        (['16'], '--shape takes H W or N C H W, all positive, not 16'),
        (['1', '3', '16', '16'], 'the network takes images of 1 channels, not 3'),
    ],
)
def test_the_older_shape_is_noted_and_checked(export, sizes, words):
    ended = export('--shape', *sizes)
    assert ended.status == 1
    note, error = ended.err.splitlines()
    assert note == 'note: --shape is called --size H W, and --batch N now'
    assert words in error


def test_the_config_is_the_checkpoints_own_where_none_is_given(run_tool, checkpoint, tmp_path):
    options = ['--format', 'packed', '--out', tmp_path / 'out', '--verify', '--images', 4]
    ended = run_tool('export.py', checkpoint, *options)
    assert ended.status == 0, ended.err
    assert [(row['file'], row['verdict']) for row in rows(ended)] == [('tiny.safetensors', 'verified')]


@pytest.mark.parametrize('content', [b'', b'no checkpoint'])
def test_a_file_that_is_no_checkpoint(export, tmp_path, content):
    (tmp_path / 'broken.pth').write_bytes(content)
    ended = export('--format', 'packed', weights=tmp_path / 'broken.pth')
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert 'is truncated or not a PyTorch file' in ended.err
    assert not (tmp_path / 'out').exists()


DETECTOR = """
_base_ = '{repository}/configs/detection/retinanet_bireal_r18_fpn_1x_coco.py'
model = dict(
    backbone=dict(base_channels=8, init_cfg=None, norm_cfg=dict(type='BN')),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1))
"""


def test_a_detectors_backbone_and_neck_on_photographs(run_tool, shared_data, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('openvino')
    from mmengine.registry import MODELS, DefaultScope

    from tests.conftest import REPOSITORY

    config = tmp_path / 'small.py'
    config.write_text(DETECTOR.format(repository=REPOSITORY))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config(str(config)).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'detector.pth')
    photographs = next(path.parent for path in (shared_data / 'coco_mini').rglob('*.jpg'))
    ended = run_tool(
        *('export.py', config, tmp_path / 'detector.pth', '--format', 'openvino', '--out', tmp_path / 'out'),
        *('--size', 96, 128, '--verify', photographs, '--images', 2),
    )
    assert ended.status == 0, ended.err
    assert 'detector.pth, its backbone+neck alone, for inputs 1x3x96x128' in ended.out
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        want = model.eval().extract_feat(x)
    got = Session(tmp_path / 'out/small.xml')(x)
    assert [array.shape for array in got] == [tuple(tensor.shape) for tensor in want]
    error = np.linalg.norm(got[0] - want[0].numpy()) / np.linalg.norm(want[0].numpy())
    assert error < 0.05
    packed = run_tool('export.py', config, tmp_path / 'detector.pth', '--format', 'packed', '--out', tmp_path / 'out')
    assert (packed.status, packed.err.count('\n')) == (1, 1)
    assert 'use --part backbone' in packed.err


def test_onnx_is_written_in_the_opset_asked_for(export, tmp_path):
    onnx = pytest.importorskip('onnx')
    ended = export('--format', 'onnx', '--opset', 17)
    assert ended.status == 0, ended.err
    assert [each.version for each in onnx.load(tmp_path / 'out/tiny.onnx').opset_import] == [17]


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--format', 'packed', '--opset', 17], '--opset is of ONNX files, and --format has packed alone; add onnx'),
        (['--format', 'onnx', '--opset', 9], 'onnx: the network has no form in opset 9'),
    ],
)
def test_an_opset_that_cannot_be_is_told(arguments, sentence, export):
    ended = export(*arguments)
    assert ended.status == 1
    assert sentence in ended.err
