"""Checkpoints: plain content, whole or not there, and read without running anything."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from bireal_plugin import InputError
from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.training import PlainCheckpointHook
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint

PROBES = "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"


def test_every_checkpoint_of_a_run_loads_with_weights_only(finished_run):
    paths = sorted(path for path in finished_run.folder.rglob('*.pth') if path.name != 'start.pth')
    assert all({'state_dict', 'meta', 'message_hub'} <= torch.load(path, weights_only=True).keys() for path in paths)


@pytest.mark.parametrize('stage', ['float', 'binary', 'bn'])
def test_last_two_and_best_checkpoints_are_kept(finished_run, stage):
    log = next((finished_run.folder / stage).rglob('scalars.json')).read_text()
    records = [json.loads(line) for line in log.splitlines()]
    accuracies = [record['accuracy/top1'] for record in records if 'accuracy/top1' in record]
    epochs = len(accuracies)
    best = int(np.argmax(accuracies)) + 1
    expected = {f'epoch_{epochs - 1}.pth', f'epoch_{epochs}.pth', f'best_accuracy_top1_epoch_{best}.pth'}
    assert {path.name for path in (finished_run.folder / stage).glob('*.pth')} - {'start.pth'} == expected


@pytest.mark.parametrize(
    ('stem', 'time', 'left'),
    [('best_accuracy_top1_epoch_1', 1, 1), ('epoch_1', 2, 1), ('epoch_2', 1, 1), ('epoch_3', 1, 2)],
)
def test_full_disk_leaves_the_earlier_checkpoint_whole(run_tool, tiny_config, tmp_path, monkeypatch, stem, time, left):
    """The best so far, as the first epoch's is, is written behind its checkpoint, which is then written again."""
    put, written = LocalBackend.put, Counter()

    def put_half(self, content, path):
        name = Path(path).name.split('.')[1]  # the stem in the hidden name of what is not whole yet
        written[name] += 1
        if (name, written[name]) == (stem, time):
            put(self, content[: len(content) // 2], path)
            raise OSError(28, 'No space left on device')
        put(self, content, path)

    monkeypatch.setattr(LocalBackend, 'put', put_half)
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--stage', 'float')
    assert ended.err.endswith('No space left on device\n')
    assert [path.name for path in (tmp_path / 'float').iterdir() if path.name.startswith('.')] == []
    assert latest_checkpoint(tmp_path / 'float').name == f'epoch_{left}.pth'
    assert read_checkpoint(latest_checkpoint(tmp_path / 'float'))['meta']['epoch'] == left


def test_nan_weights_are_not_saved(run_tool, tiny_config_with, tmp_path):
    config = tiny_config_with(f"{PROBES}custom_hooks = [dict(type='PoisonWeights', epoch=1), *_base_.custom_hooks]\n")
    ended = run_tool('train.py', config, '--work-dir', tmp_path, '--stage', 'float')
    assert ended.status == 1
    assert ended.err.startswith('error: training diverged: fc.weight ')
    paths = (tmp_path / 'float').glob('*.pth')
    states = {path.name: torch.load(path, weights_only=True)['state_dict'] for path in paths}
    assert states.keys() == {'epoch_1.pth', 'best_accuracy_top1_epoch_1.pth'}
    assert all(torch.isfinite(value).all() for state in states.values() for value in state.values())


def test_nan_loss_stops_with_a_sentence(run_tool, tiny_config, tmp_path):
    options = ('stages.float.optim_wrapper.optimizer.lr=1e30', 'train_dataloader.batch_size=16')
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--stage', 'float', '--cfg-options', *options)
    assert ended.status == 1
    assert ended.err.startswith('error: the loss became nan in epoch 1, iteration 20; ')


def test_message_hub_survives_saving_and_loading(tmp_path):
    rng = np.random.default_rng(0)
    hub = MessageHub.get_instance('saved hub')
    for loss in rng.normal(size=20):
        hub.update_scalar('train/loss', float(loss), count=3)
    info = {'best_score': 97.2, 'keep_ckpt_ids': [1, 2], 'classes': ('a', 'b'), 'name': 'digits', 'none': None}
    for key, value in info.items():
        hub.update_info(key, value)
    hub.update_info('scale', np.float64(0.1))
    hub.update_info('cfg', 'the whole config, which the checkpoint has anyway')

    checkpoint = dict(state_dict={}, meta={}, message_hub=hub.state_dict())
    PlainCheckpointHook().before_save_checkpoint(SimpleNamespace(work_dir='', cfg=Config()), checkpoint)
    torch.save(checkpoint, tmp_path / 'hub.pth')
    loaded = torch.load(tmp_path / 'hub.pth', weights_only=True)
    PlainCheckpointHook().after_load_checkpoint(None, loaded)
    copy = MessageHub.get_instance('loaded hub')
    copy.load_state_dict(loaded['message_hub'])

    for ours, theirs in zip(copy.get_scalar('train/loss').data, hub.get_scalar('train/loss').data, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert copy.runtime_info == {**info, 'scale': 0.1}


@pytest.mark.parametrize(
    'scheduler',
    [
        dict(type='OneCycleLR', eta_max=0.1, total_steps=10),  # keeps a function in its state
        dict(type='MultiStepLR', milestones=[2, 2, 5]),
        dict(type='CosineAnnealingLR', T_max=10),
    ],
    ids=lambda scheduler: scheduler['type'],
)
def test_schedulers_continue_from_a_weights_only_checkpoint(tmp_path, scheduler):
    def built():
        wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9))
        return wrapper, PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper))

    def rates(wrapper, scheduler, count):
        for _ in range(count):
            wrapper.optimizer.step()
            scheduler.step()
            yield wrapper.get_lr()['lr']

    wrapper, through = built()
    uninterrupted = list(rates(wrapper, through, 8))
    wrapper, first = built()
    head = list(rates(wrapper, first, 3))
    checkpoint = dict(
        state_dict={},
        meta={},
        message_hub=MessageHub.get_instance('schedulers').state_dict(),
        optimizer=wrapper.state_dict(),
        param_schedulers=[first.state_dict()],
    )
    PlainCheckpointHook().before_save_checkpoint(SimpleNamespace(work_dir='', cfg=Config()), checkpoint)
    torch.save(checkpoint, tmp_path / 'schedulers.pth')
    loaded = torch.load(tmp_path / 'schedulers.pth', weights_only=True)
    wrapper, second = built()
    wrapper.load_state_dict(loaded['optimizer'])
    second.load_state_dict(loaded['param_schedulers'][0])
    assert head + list(rates(wrapper, second, 5)) == uninterrupted


def test_latest_checkpoint_is_the_highest_number(tmp_path):
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_accuracy_top1_epoch_11.pth', '.epoch_12.pth.partial'):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_10.pth'


def test_latest_checkpoint_of_an_empty_folder_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / 'absent') is None


class RunsOnLoading:
    """Unpickling this touches a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f'open({str(self.marker)!r}, "w")',)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    torch.save(dict(weight=torch.ones(1), extra=RunsOnLoading(tmp_path / 'ran')), tmp_path / 'evil.pth')
    with pytest.raises(InputError, match=r'evil\.pth holds objects \(\S*exec\).*save its state_dict alone'):
        read_checkpoint(tmp_path / 'evil.pth')
    assert not (tmp_path / 'ran').exists()


def saved(path, content):
    torch.save(content, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: b'', 'is truncated or not a PyTorch file'),
        (lambda path: b'\x89PNG\r\n\x1a\n' + bytes(100), 'is truncated or not a PyTorch file'),
        (lambda path: saved(path, dict(state_dict=dict(weight=torch.ones(1000))))[:2000], 'is truncated or not a Py'),
        (lambda path: saved(path, [1, 2]), 'holds a list, not a dictionary of weights'),
    ],
    ids=['missing', 'empty', 'picture', 'truncated', 'list'],
)
def test_file_that_is_no_checkpoint_is_refused(tmp_path, content, sentence):
    path = tmp_path / 'model.pth'
    data = content(path)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=rf'checkpoint \S*model\.pth .*({sentence})'):
        read_checkpoint(path)


@pytest.mark.parametrize('entry', [None, 'state_dict', 'model', 'model_state'])
def test_state_dict_is_found_where_libraries_put_it(entry):
    state = {'module.fc.weight': torch.ones(2)}
    found = state_dict_of(state if entry is None else {entry: state, 'epoch': 3}, 'model.pth')
    assert found == {'fc.weight': state['module.fc.weight']}


def test_checkpoint_without_tensors_is_refused():
    with pytest.raises(InputError, match=r'model\.pth has no weights'):
        state_dict_of(dict(epoch=3), 'model.pth')


def test_latest_checkpoint_of_another_name_is_what_last_checkpoint_names(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/checkpoints/snapshot_3.pth\n')
    assert str(latest_checkpoint(tmp_path)) == '/checkpoints/snapshot_3.pth'


def test_a_flipped_bit_in_a_checkpoint_is_told_and_not_loaded(tmp_path):
    """Wherever it is; torch reads all of these as other weights."""
    path, weights = tmp_path / 'net.pth', torch.zeros(100, 10)
    torch.save(dict(state_dict=dict(w=weights)), path)
    content = path.read_bytes()
    start = content.index(bytes(4000))
    for place in range(start, start + 4000, 97):
        path.write_bytes(content[:place] + b'\x40' + content[place + 1 :])
        assert not torch.equal(torch.load(path, weights_only=True)['state_dict']['w'], weights)
        with pytest.raises(
            InputError, match=r'net\.pth was changed after it was written: the checksum of \S+ does not'
        ):
            read_checkpoint(path)


def test_a_checkpoint_without_checksums_is_read(tmp_path):
    try:
        torch.serialization.set_crc32_options(False)
        torch.save(dict(state_dict=dict(w=torch.ones(3))), tmp_path / 'net.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(tmp_path / 'net.pth')['state_dict']['w'].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ('state', 'words'),
    [
        ({3: torch.ones(2)}, 'its weights are called 3 and so on'),
        ({'w': torch.eye(3).to_sparse()}, r'w is sparse \(torch.sparse_coo\)'),
        ({'w': torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, 'w is nested'),
        ({'w': torch.ones(2, dtype=torch.complex64)}, 'w is complex'),
        ({'w': torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, 'w is quantized'),
        ({'w': torch.ones(2, device='meta')}, 'w is without numbers'),
        ({'w': torch.ones(1).expand(10**6, 10**6)}, r'w is a view \(1000000, 1000000\) of fewer numbers'),
    ],
    ids=['number', 'sparse', 'nested', 'complex', 'quantized', 'meta', 'view'],
)
@pytest.mark.filterwarnings('ignore')
def test_weights_are_dense_tensors_of_real_numbers(tmp_path, state, words):
    torch.save(dict(state_dict=state), tmp_path / 'net.pth')
    with pytest.raises(InputError, match=rf'net\.pth: {words}'):
        state_dict_of(read_checkpoint(tmp_path / 'net.pth'), str(tmp_path / 'net.pth'))
