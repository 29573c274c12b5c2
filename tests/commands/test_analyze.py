"""tools/analyze.py on the tiny recipe."""

import shutil

import pytest
import torch

FIG1 = ['fig1_feature_maps.png', 'fig1_feature_maps.svg']
FIG7 = ['fig7_surrogates.png', 'fig7_surrogates.svg']
FIG8 = ['fig8_weights.png', 'fig8_weights.svg']
FIG9 = ['fig9_activations.png', 'fig9_activations.svg']
CURVES = ['curves.png', 'curves.svg']


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_without_source_the_surrogates_alone(run_tool, tmp_path):
    assert run_tool('analyze.py', '--out', tmp_path).status == 0
    assert names(tmp_path) == FIG7


@pytest.mark.slow
def test_a_work_directory_gives_all_pictures(run_tool, finished_run, tmp_path):
    ended = run_tool('analyze.py', finished_run.folder, '--out', tmp_path)
    assert ended.status == 0, ended.err
    assert names(tmp_path) == CURVES + FIG1 + FIG7 + FIG8 + FIG9
    assert ended.out.split() == [str(tmp_path / name) for name in FIG7 + CURVES + FIG9 + FIG1 + FIG8]
    activations = (tmp_path / 'fig9_activations.svg').read_text()
    for title in ('ReLU (stage float)', 'leaky clip', 'clip', 'sign (stage bn)'):
        assert f'<!-- {title} -->' in activations
    assert '<!-- stage binary: weights before' in (tmp_path / 'fig8_weights.svg').read_text()  # bn has none left


@pytest.mark.slow
def test_a_checkpoint_gives_its_weights_and_curves(run_tool, finished_run, tmp_path):
    ended = run_tool('analyze.py', finished_run.folder / 'binary' / 'epoch_3.pth', '--out', tmp_path)
    assert ended.status == 0, ended.err
    assert names(tmp_path) == CURVES + FIG7 + FIG8
    assert '<!-- test top-1 (%) -->' in (tmp_path / 'curves.svg').read_text()


@pytest.mark.slow
def test_a_checkpoint_of_an_older_version_needs_its_config(run_tool, finished_run, tiny_config, tmp_path):
    path = tmp_path / 'binary' / 'epoch_3.pth'
    path.parent.mkdir()
    content = finished_run.checkpoint('binary')
    del content['meta']['trained']
    torch.save(content, path)
    arguments = ('analyze.py', path, '--out', tmp_path / 'out')
    ended = run_tool(*arguments)
    assert (ended.status, 'does not carry the config it was trained with' in ended.err) == (1, True)
    unnamed = run_tool(*arguments, '--config', tiny_config)
    assert (unnamed.status, 'name one with --stage' in unnamed.err) == (1, True)
    assert run_tool(*arguments, '--config', tiny_config, '--stage', 'binary').status == 0


@pytest.mark.slow
def test_a_run_that_is_not_binary_yet_says_what_is_left_out(run_tool, finished_run, tmp_path):
    for stage in ('float', 'leaky_clip'):
        shutil.copytree(finished_run.folder / stage, tmp_path / 'run' / stage)
    ended = run_tool('analyze.py', tmp_path / 'run', '--out', tmp_path / 'out')
    assert 'Fig. 8 left out: no stage has binary weights' in ended.out
    assert 'Fig. 1 left out: ' in ended.out
    assert names(tmp_path / 'out') == CURVES + FIG7 + FIG9


@pytest.mark.parametrize(
    ('source', 'sentence'),
    [
        ('nowhere', 'nowhere does not exist; give a checkpoint or a work directory'),
        ('binary', 'binary has no stages: none of its folders holds a checkpoint'),
        ('float/epoch_3.pth', 'epoch_3.pth has no binary layers: give a checkpoint of a stage with binary weights'),
        ('bn/epoch_2.pth', 'epoch_2.pth has weights of exactly +-1, no latent ones'),
    ],
)
@pytest.mark.slow
def test_sources_that_give_no_picture(run_tool, finished_run, tmp_path, source, sentence):
    ended = run_tool('analyze.py', finished_run.folder / source, '--out', tmp_path / 'out')
    assert ended.status == 1
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_config_that_cannot_be_built_is_told(run_tool, tmp_path):
    config = tmp_path / 'real.py'
    config.write_text("model = dict(type='BiRealClassifier', backbone=dict(type='ResNet18'), num_classes=2)")
    torch.save(dict(state_dict=dict(a=torch.zeros(1))), tmp_path / 'a.pth')
    ended = run_tool('analyze.py', tmp_path / 'a.pth', '--out', tmp_path / 'out', '--config', config)
    assert ended.status == 1
    assert 'ResNet18' in ended.err
