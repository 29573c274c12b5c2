"""load_trained: the config comes from the checkpoint or is compared with it; nothing is guessed."""

import shutil

import pytest
import torch
from mmengine.config import Config

from bireal_plugin import InputError
from bireal_plugin.checkpoints.file import Origin, read_checkpoint
from bireal_plugin.training.differences import network_difference
from bireal_plugin.training.recipe import stage_config, stage_model
from bireal_plugin.training.trained import checkpoint_config, load_trained, trained_config

STAGES = ['float', 'leaky_clip', 'clip', 'binary', 'bn']
DISTILLED = """
stages = dict(binary=dict(model=dict(
    type='DistilledClassifier',
    teacher=dict(type='BiRealClassifier', num_classes=10, backbone=dict(
        type='BiRealResNet', depth=18, in_channels=1, base_channels=4, stem='cifar', out_indices=(3,),
        activation='relu', weights='real')),
    teacher_checkpoint='{teacher}')))
"""


def last(finished_run, stage):
    return finished_run.folder / next(row['checkpoint'] for row in finished_run.results if row['name'] == stage)


@pytest.fixture
def elsewhere(finished_run, tmp_path):
    """``elsewhere('clip')`` copies a stage's last checkpoint under another name into a folder called after a stage."""

    def copy(stage, folder='float', **changed):
        path = tmp_path / folder / 'net.pth'
        path.parent.mkdir(exist_ok=True)
        content = read_checkpoint(last(finished_run, stage))
        content['meta'] = {**content['meta'], **changed}
        torch.save({key: content[key] for key in ('state_dict', 'meta')}, path)
        return path

    return copy


def assert_is_the_stage(model, config, finished_run, tiny_config, stage):
    assert (config.stage, config.recipe) == (stage, STAGES)
    expected = stage_model(Config.fromfile(tiny_config), stage)
    expected.load_state_dict(finished_run.weights(stage))
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('given', [True, False], ids=['with config', 'without'])
def test_a_checkpoint_moved_elsewhere_is_its_own_network(finished_run, tiny_config, elsewhere, stage, given):
    path = elsewhere(stage, folder='float' if stage != 'float' else 'bn')
    model, config = load_trained(tiny_config if given else None, path)
    assert_is_the_stage(model, config, finished_run, tiny_config, stage)


@pytest.mark.parametrize('pattern', ['bn/best_*.pth', 'bn/start.pth', 'clip/epoch_1.pth'])
def test_every_file_of_a_run_tells_its_stage(finished_run, pattern):
    (path,) = finished_run.folder.glob(pattern)
    assert load_trained(None, path)[1].stage == path.parent.name


def test_the_carried_config_is_the_stages(finished_run, tiny_config):
    carried = checkpoint_config(last(finished_run, 'clip'))
    config = stage_config(Config.fromfile(tiny_config), 'clip')
    for key in ('model', 'test_dataloader', 'test_evaluator', 'train_cfg', 'optim_wrapper', 'default_scope'):
        assert carried[key] == config[key]


def test_a_carried_config_is_taken_as_one_that_is_given(finished_run):
    path = last(finished_run, 'clip')
    carried = checkpoint_config(path, {'test_dataloader.batch_size': 7})
    config = load_trained(carried, path, stage='clip')[1]
    assert (config.stage, config.test_dataloader.batch_size, config.filename) == ('clip', 7, str(path))


def test_the_data_of_a_carried_config_can_be_moved(tmp_path):
    config = dict(
        model=dict(type='BiRealResNet', depth=18),
        data_root='/theirs',
        test_dataloader=dict(dataset=dict(type='ImageNetFolder', root='/theirs')),
    )
    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=dict(trained=dict(config=config))), tmp_path / 'a.pth')
    moved = checkpoint_config(tmp_path / 'a.pth', dict(data_root='/ours'))
    assert moved.test_dataloader.dataset.root == '/ours'


@pytest.mark.parametrize(
    ('trained', 'taken', 'words'),
    [
        ('clip', 'bn', "activation = 'clip' .stage clip., but .* has 'sign'"),
        ('bn', 'leaky_clip', "activation = 'sign' .stage bn., but .* has 'leaky_clip'"),
        ('binary', 'bn', 'weight = MagnitudeAware .stage binary., but .* has Sign'),
        ('float', 'clip', "activation = 'relu' .stage float., but .* has 'clip'"),
    ],
)
def test_a_stage_of_another_network_is_refused(tiny_config, elsewhere, trained, taken, words):
    with pytest.raises(InputError, match=f'model.backbone.*{words}.*--allow-other-network'):
        load_trained(tiny_config, elsewhere(trained), stage=taken)


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ("backbone=dict(structure='resnet')", "structure = 'bireal' .*has 'resnet'"),
        ("backbone=dict(conv='XNORConv2d')", 'conv = BinaryConv2d .*has XNORConv2d'),
        ("backbone=dict(sign='STE')", 'conv.sign = ApproxSign .*has STE'),
        ('backbone=dict(depth=34)', 'depth = 18 .*has 34'),
        ('data_preprocessor=dict(mean=(1.0,))', r'data_preprocessor.mean = \[78.0\] .*has \[1.0\]'),
        ("type='MyClassifier'", '= BiRealClassifier .*has MyClassifier'),
    ],
)
def test_a_config_of_another_network_is_refused(tiny_config_with, elsewhere, changed, words):
    with pytest.raises(InputError, match=words):
        trained_config(tiny_config_with(f'model = dict({changed})'), elsewhere('clip'))


def test_images_are_compared_where_their_preprocessor_stands_beside_the_model():
    model = dict(type='BiRealClassifier', num_classes=3, backbone=dict(type='BiRealResNet', depth=18, base_channels=4))
    grey, other = (dict(type='ImagePreprocessor', mean=(mean,), std=(96.0,)) for mean in (78.0, 1.0))
    content = dict(state_dict={}, meta=Origin(dict(model=model, data_preprocessor=grey)).as_meta())
    for config in (dict(model=model, data_preprocessor=grey), dict(model={**model, 'data_preprocessor': grey})):
        assert trained_config(Config(config), 'a.pth', content=content).model.num_classes == 3
    made = dict(model=model, data_preprocessor=other)
    with pytest.raises(InputError, match=r'model.data_preprocessor.mean = \[78.0\] .* has \[1.0\]'):
        trained_config(Config(made), 'a.pth', content=content)


def test_another_network_is_taken_when_it_is_asked_for(tiny_config, finished_run, elsewhere):
    model, config = load_trained(tiny_config, elsewhere('clip'), stage='float', allow_other_network=True)
    assert (config.stage, config.model.backbone.activation) == ('float', 'relu')
    assert torch.equal(model.fc.weight, finished_run.weights('clip')['fc.weight'])


@pytest.mark.parametrize('changed', ['drop_rate=0.7', 'label_smoothing=0.1', 'backbone=dict(norm_eval=True)'])
def test_what_only_training_sees_may_differ(tiny_config_with, elsewhere, changed):
    assert trained_config(tiny_config_with(f'model = dict({changed})'), elsewhere('clip')).stage == 'clip'


def test_spelling_out_a_default_is_no_difference():
    short = dict(type='BiRealResNet', depth=18)
    long = dict(short, sign=dict(type='ApproxSign'), weight='MagnitudeAware', conv=dict(type='BinaryConv2d'))
    assert network_difference(short, dict(long, activation='sign', out_indices=[0, 1, 2, 3])) is None
    assert network_difference(short, dict(long, num_stages=4, base_channels=64, stem='imagenet')) is None
    cifar = dict(type='BiRealResNet', depth=20)
    assert network_difference(cifar, dict(cifar, num_stages=3, base_channels=16, stem='cifar')) is None
    assert network_difference(cifar, dict(cifar, base_channels=64)).key == '.base_channels'


@pytest.mark.parametrize(
    ('config', 'options', 'words'),
    [
        (True, {}, r'does not tell which stage .*: name one with --stage \(float, leaky_clip, clip, binary, bn\)'),
        (False, {}, 'does not carry the config it was trained with: give CONFIG'),
        (True, dict(stage='step1'), "there is no stage 'step1'; the stages are: float"),
    ],
    ids=['stage', 'config', 'unknown'],
)
def test_what_an_old_checkpoint_does_not_tell_is_asked_for(tiny_config, elsewhere, config, options, words):
    """Even where its folder is called after a stage."""
    with pytest.raises(InputError, match=words):
        load_trained(tiny_config if config else None, elsewhere('clip', folder='clip', trained=None), **options)


def test_another_stage_than_the_carried_one_is_refused(elsewhere):
    with pytest.raises(InputError, match=r'--stage bn: .*net.pth is of stage clip; leave --stage out'):
        load_trained(None, elsewhere('clip'), stage='bn')


def test_a_recipe_without_the_checkpoints_stage_is_refused(tiny_config, elsewhere, finished_run):
    meta = read_checkpoint(last(finished_run, 'clip'))['meta']['trained']
    with pytest.raises(InputError, match=r'is of stage step1, and the stages of .* are: float'):
        load_trained(tiny_config, elsewhere('clip', trained={**meta, 'stage': 'step1'}))


@pytest.mark.parametrize(
    'config',
    [
        dict(model=dict(type='os.system', command='touch {marker}')),
        dict(model=dict(type='BiRealResNet'), hooks=[dict(type='subprocess.run', args='touch {marker}', shell=True)]),
    ],
)
def test_a_carried_config_calls_nothing_unregistered(tmp_path, config):
    config = eval(repr(config).replace('{marker}', str(tmp_path / 'ran')))
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=dict(trained=dict(config=config))), path)
    with pytest.raises(InputError, match=r'evil.pth: the config in it names (os.system|subprocess.run)'):
        load_trained(None, path)
    assert not (tmp_path / 'ran').exists()


def test_the_text_of_a_config_in_a_checkpoint_is_not_run(tmp_path):
    path = tmp_path / 'text.pth'
    text = f"open({str(tmp_path / 'ran')!r}, 'w')\nmodel = dict(type='BiRealResNet', depth=18)\n"
    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=dict(cfg=text)), path)
    with pytest.raises(InputError, match='give CONFIG'):
        load_trained(None, path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('trained', ['binary', dict(stage='x'), dict(config={}, stage=3)])
def test_a_damaged_origin_is_refused(tmp_path, trained):
    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=dict(trained=trained)), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'meta\.trained must'):
        load_trained(None, tmp_path / 'a.pth')


def test_a_distilled_student_needs_no_teacher(run_tool, tiny_config_with, finished_run, tmp_path):
    teacher = tmp_path / 'teacher.pth'
    shutil.copy(last(finished_run, 'float'), teacher)
    config = tiny_config_with(DISTILLED.format(teacher=teacher))
    start = f'stages.binary.load_from={last(finished_run, "clip")}'
    options = ('--stage', 'binary', '--cfg-options', start, 'stages.binary.train_cfg.max_epochs=1')
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'run', *options).status == 0
    teacher.unlink()
    path = tmp_path / 'run' / 'binary' / 'epoch_1.pth'
    for given in (config, None):
        model, loaded = load_trained(given, path)
        assert type(model).__name__ == loaded.model.type == 'BiRealClassifier'
    assert run_tool('test.py', config, path, '--work-dir', tmp_path / 'test').status == 0


@pytest.mark.parametrize('config', [dict(default_scope='a_library'), dict(model=dict(_scope_='a_library'))])
def test_a_carried_config_imports_no_library_by_its_scope(tmp_path, monkeypatch, config):
    (tmp_path / 'a_library').mkdir()
    (tmp_path / 'a_library' / 'registry.py').write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    config = {**config, 'model': {'type': 'BiRealResNet', 'depth': 18, **config.get('model', {})}}
    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=dict(trained=dict(config=config))), tmp_path / 'evil.pth')
    with pytest.raises(InputError, match=r"evil.pth: the config in it has .*='a_library', no library"):
        load_trained(None, tmp_path / 'evil.pth')
    assert not (tmp_path / 'ran').exists()
