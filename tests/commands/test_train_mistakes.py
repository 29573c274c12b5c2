"""Mistakes on the command line: one sentence, status 1, and everything left as it was."""

import os
import shutil
import signal

import pytest
import safetensors.torch
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from bireal_plugin.data import ClassificationDataset
from bireal_plugin.models import BiRealResNet
from bireal_plugin.models.classifier import TopKAccuracy


def assert_refused(ended, *words):
    """One line on stderr, starting with ``error: `` and holding the words."""
    assert ended.status == 1
    assert ended.err.startswith('error: ')
    assert ended.err.count('\n') == 1
    assert [word for word in words if word not in ended.err] == []


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--stage', 'step1'], ["no stage 'step1'", 'float, leaky_clip, clip, binary, bn']),
        (['--stage', 'clip'], ["'clip' starts from stage 'leaky_clip', which has not ended"]),
        (['--resume', 'epoch_1.pth'], ['--resume takes no file in a recipe of stages']),
        (['--auto-scale-lr'], ['auto_scale_lr=dict(base_batch_size=...)']),
        (['--cfg-options', 'modle.backbone.depth=34'], ['--cfg-options modle.backbone.depth', "there is no 'modle'"]),
        (['--cfg-options', 'stages.bnn.train_cfg.max_epochs=1'], ['stages.bnn', 'float, leaky_clip, clip, binary, bn']),
        (['--cfg-options', 'model.backbone.depht=34'], ['stage float', 'depht']),
        (['--cfg-options', 'stages.bn.model.backbone.depht=34'], ['stage bn', 'depht']),
        (['--cfg-options', 'model.backbone.type=ResNet19'], ['ResNet19 is not in the mmengine::model registry']),
        (['--cfg-options', 'train_dataloader.dataset.type=Digitz'], ['Digitz is not in the mmengine::dataset']),
        (['--cfg-options', 'custom_hooks.0.type=NoHook'], ['NoHook is not in the mmengine::hook registry']),
        (['--cfg-options', 'train_dataloader.dataset.subset=0'], ['subset must be between 1 and the 1437 images']),
        (['--cfg-options', 'load_from=absent.pth'], ['checkpoint absent.pth does not exist']),
        (['--cfg-options', 'load_from=torchvision://resnet19'], ['torchvision://resnet19 cannot be loaded']),
        (['--cfg-options', 'load_from=timm://resnet19'], ['timm://resnet19', "timm has no model 'resnet19'"]),
        (['--cfg-options', 'load_from=timm://resnet18.tag'], ['timm://resnet18.tag cannot be loaded', 'Invalid']),
        (['--cfg-options', 'load_from=http://127.0.0.1:9/r.pth'], ['http://127.0.0.1:9/r.pth cannot be loaded']),
    ],
    ids=lambda value: ' '.join(value[:2]) if str(value[0]).startswith('--') else '',
)
def test_mistake_is_one_sentence(run_tool, tiny_config, tmp_path, arguments, words):
    assert_refused(run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'run', *arguments), *words)


@pytest.mark.parametrize(
    'arguments',
    [
        ['--stage', 'step1'],
        ['--resume', 'epoch_1.pth'],
        ['--cfg-options', 'stages.bn.model.backbone.depht=34'],
        ['--cfg-options', 'val_dataloader.dataset.subset=0'],
    ],
    ids=' '.join,
)
def test_mistake_leaves_a_finished_run_alone(run_tool, tiny_config, finished_run, tmp_path, arguments):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    assert_refused(run_tool('train.py', tiny_config, '--work-dir', folder, *arguments))
    assert {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()} == before


def test_missing_config(run_tool):
    assert_refused(run_tool('train.py', 'configs/absent.py'), 'config configs/absent.py does not exist')


def test_syntax_error_in_a_config(run_tool, tiny_config_with, tmp_path):
    config = tiny_config_with('model = dict(')
    assert_refused(run_tool('train.py', config), str(config), 'was never closed')


@pytest.mark.parametrize('root', [None, '/nowhere'])
def test_missing_imagenet_says_where_it_was_expected(run_tool, tmp_path, monkeypatch, root):
    config = f'{__file__.partition("/tests/")[0]}/configs/bireal_r18_imagenet.py'
    monkeypatch.chdir(tmp_path)
    options = [] if root is None else ['--cfg-options', f'data_root={root}']
    expected = f'ImageNet was expected as {root or "data/imagenet"}/{{train,val}}/<wnid>/*.JPEG'
    ended = run_tool('train.py', config, *options)
    assert_refused(ended, expected, '--cfg-options data_root=')


def test_work_directory_that_is_a_file(run_tool, tiny_config, tmp_path):
    (tmp_path / 'file').touch()
    assert_refused(run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'file'), f'{tmp_path}/file')


@pytest.mark.parametrize(
    ('launcher', 'variable'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')]
)
def test_launcher_without_its_environment(run_tool, tiny_config, tmp_path, monkeypatch, launcher, variable):
    monkeypatch.delenv(variable, raising=False)
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--launcher', launcher)
    assert_refused(ended, f'--launcher {launcher} needs {variable}', 'torchrun --nproc_per_node')


def broken_weights(kind, folder, finished_run):
    """A file that cannot be the start of a run."""
    path = folder / f'{kind}.pth'
    if kind == 'truncated':
        path.write_bytes((finished_run.folder / 'bn' / 'epoch_2.pth').read_bytes()[:5000])
    elif kind == 'code':
        torch.save(dict(state_dict={}, run=print), path)
    elif kind == 'foreign':
        torch.save(dict(state_dict={'encoder.weight': torch.ones(3)}), path)
    elif kind == 'empty':
        torch.save(dict(epoch=3), path)
    return path


@pytest.mark.parametrize(
    ('kind', 'words'),
    [
        ('truncated', ['is truncated or not a PyTorch file']),
        ('code', ['holds objects', 'print', 'is not loaded']),
        ('foreign', ['0 of', 'encoder.weight', 'belong to another network']),
        ('empty', ['has no weights']),
    ],
)
def test_weights_that_cannot_be_loaded(run_tool, tiny_config, finished_run, tmp_path, kind, words):
    path = broken_weights(kind, tmp_path, finished_run)
    option = f'load_from={path}'
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'run', '--cfg-options', option)
    assert_refused(ended, str(path), *words)


def test_stage_before_was_another_network(run_tool, tiny_config, finished_run, tmp_path):
    """The config was changed between two stages: nothing may be left out silently."""
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    option = 'model.backbone.base_channels=8'
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--stage', 'clip', '--cfg-options', option)
    assert_refused(ended, 'leaky_clip/epoch_1.pth', 'of another shape (backbone.conv1.weight', 'another network')


def test_truncated_checkpoint_on_resume_is_named_and_kept(run_tool, tiny_config, finished_run, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    (folder / 'bn' / 'result.json').unlink()
    last = folder / 'bn' / 'epoch_2.pth'
    last.write_bytes(last.read_bytes()[:5000])
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    assert_refused(ended, str(last), 'is truncated')
    assert last.stat().st_size == 5000


def test_broken_image_in_a_loader_worker(run_tool, tmp_path):
    """torch would print the worker's traceback."""
    for split in ('train', 'val'):
        (tmp_path / split / 'n01').mkdir(parents=True)
        for i in range(2):
            Image.new('RGB', (40, 40)).save(tmp_path / split / 'n01' / f'{i}.jpeg')
    broken = tmp_path / 'train' / 'n01' / '1.jpeg'
    broken.write_bytes(broken.read_bytes()[:300])
    transforms = [f'{split}_dataloader.dataset.transform.{key}=32' for split in ('train', 'val') for key in SIDES]
    options = (f'data_root={tmp_path}', 'model.backbone.base_channels=4', 'train_dataloader.num_workers=1', *transforms)
    config = 'configs/bireal_r18_imagenet.py'
    ended = run_tool('train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert_refused(ended, f'{broken} cannot be decoded', 'truncated, damaged')


SIDES = ('shorter_side', 'crop')


def test_interruption_says_how_to_go_on(run_tool, tiny_config, tmp_path, monkeypatch):
    def interrupt(self, inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(BiRealResNet, 'forward', interrupt)
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path)
    assert (ended.status, ended.err) == (130, 'interrupted; what was saved stays, and --resume goes on from there\n')


@pytest.mark.parametrize('words', [['data_root', '/data'], ['data_root'], ['=3'], ['train_cfg.max_epochs=']])
def test_options_that_are_no_key_and_value(run_tool, tiny_config, tmp_path, words):
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'run', '--cfg-options', *words)
    assert_refused(ended, f'--cfg-options {" ".join(words)}: ', 'is no KEY=VALUE, such as data_root=/data')


@pytest.mark.parametrize('word', ['a=1,2)', 'a=[[1,2],'])
def test_options_whose_brackets_do_not_match(run_tool, tiny_config, tmp_path, word):
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'run', '--cfg-options', word)
    assert_refused(ended, f'--cfg-options {word}')


def test_a_killed_worker_is_told_with_the_likely_cause(run_tool, tiny_config, tmp_path, monkeypatch):
    get = ClassificationDataset.__getitem__

    def killed(self, key):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, key)

    monkeypatch.setattr(ClassificationDataset, '__getitem__', killed)
    option = 'train_dataloader.num_workers=1'
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--cfg-options', option)
    assert_refused(ended, 'a worker of the data loader was killed', 'lower num_workers or batch_size', '--resume')


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ...'),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
    ids=['GPU', 'CPU', 'Python'],
)
def test_the_end_of_memory_is_told(run_tool, tiny_config, tmp_path, monkeypatch, error):
    def exhausted(self, inputs):
        raise error

    monkeypatch.setattr(BiRealResNet, 'forward', exhausted)
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path)
    assert_refused(ended, 'memory ran out', 'lower batch_size', '--resume')


def test_other_errors_are_not_mistaken_for_the_machines(run_tool, tiny_config, tmp_path, monkeypatch):
    def broken(self, inputs):
        raise RuntimeError('a bug')

    monkeypatch.setattr(BiRealResNet, 'forward', broken)
    with pytest.raises(RuntimeError, match='a bug'):
        run_tool('train.py', tiny_config, '--work-dir', tmp_path)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['default_hooks.checkpoint.save_best=accuracy/top3'], "save_best='accuracy/top3' is not measured"),
        (['default_hooks.checkpoint.save_best=[accuracy/top1,acc]'], "save_best='acc' is not measured"),
        (['custom_hooks.0.type=EarlyStoppingHook', 'custom_hooks.0.monitor=top1'], "monitor='top1' is not measured"),
    ],
    ids=['best', 'one of two', 'early stopping'],
)
def test_a_metric_that_is_not_measured_is_named_before_the_first_epoch(run_tool, tiny_config, tmp_path, options, words):
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--cfg-options', *options)
    assert_refused(ended, words, 'the metrics of val_evaluator are accuracy/top1, accuracy/top5')
    assert list(tmp_path.rglob('epoch_*.pth')) == []


def test_a_schedule_that_follows_what_is_not_measured_is_named_too(run_tool, tiny_config_with, tmp_path):
    plateau = "param_scheduler = dict(_delete_=True, type='ReduceOnPlateauLR', rule='less')"
    config = tiny_config_with(f'{plateau}\nstages = dict(_delete_=True, float=dict(train_cfg=dict(max_epochs=2)))')
    assert_refused(run_tool('train.py', config, '--work-dir', tmp_path), "monitor='loss' is not measured")


def test_a_metric_that_tells_no_names_is_looked_at_after_the_first_validation(
    run_tool, tiny_config, tmp_path, monkeypatch
):
    measure = TopKAccuracy.__init__

    def nameless(self, *args, **options):
        measure(self, *args, **options)
        del self.names

    monkeypatch.setattr(TopKAccuracy, '__init__', nameless)
    option = 'default_hooks.checkpoint.save_best=accuracy/top3'
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--cfg-options', option)
    assert_refused(ended, "save_best='accuracy/top3' is not measured; the metrics of val_evaluator are accuracy/top1, ")
    assert (tmp_path / 'float' / 'epoch_1.pth').is_file()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('tool', ['test.py', 'export.py', 'train.py'])
def test_weights_that_are_no_numbers_are_refused(run_tool, tiny_config, finished_run, tmp_path, tool, suffix, value):
    state = finished_run.weights('bn')
    state['fc.weight'][0, 0] = value
    path = tmp_path / f'broken{suffix}'
    if suffix == '.pth':
        torch.save(dict(state_dict=state, meta=finished_run.checkpoint('bn')['meta']), path)
    else:
        safetensors.torch.save_file(state, path)
    arguments = {
        'test.py': [tiny_config, path, '--stage', 'bn', '--work-dir', tmp_path / 'test'],
        'export.py': [tiny_config, path, '--stage', 'bn', '--format', 'packed', 'openvino', '--out', tmp_path / 'out'],
        'train.py': [tiny_config, '--work-dir', tmp_path / 'run', '--cfg-options', f'load_from={path}'],
    }[tool]
    ended = run_tool(tool, *arguments)
    assert_refused(ended, f'{path}: fc.weight hold NaN or infinite numbers', 'earlier checkpoint')
    assert [file for file in tmp_path.rglob('*') if file.suffix in ('.bireal', '.xml')] == []
