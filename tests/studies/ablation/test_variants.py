"""Variants of a recipe: what they share, what they are called wrong, and their table; training itself is invented."""

import json
from pathlib import Path

import pytest

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation import variants
from bireal_plugin.studies.ablation.variants import (
    check_variants,
    run_variants,
    shared_stages,
    variant_config,
    variants_text,
)
from bireal_plugin.training import stage_config
from bireal_plugin.training.config import load_config

STUDIES = sorted((Path(__file__).parents[3] / 'configs' / 'studies').glob('*_digits.py'))
REAL = ['float', 'leaky_clip', 'clip']
SHARED = {
    'deeper_digits': {'34_layers': []},
    'surrogate_order_digits': {'third_order': REAL, 'clip': REAL},
    'two_step_digits': {'one_step': REAL},
}


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_studies_are_whole_and_share_what_is_alike(path):
    config = load_config(path.stem)
    check_variants(config)
    first, *others = (variant_config(config, name, 0) for name in config.variants)
    shared = [shared_stages(first, other) for other in others]
    assert dict(zip(list(config.variants)[1:], shared, strict=True)) == SHARED[path.stem]


def test_budgets_of_one_and_two_steps_are_equal():
    config = load_config('two_step_digits')
    epochs = []
    for name in config.variants:
        recipe = variant_config(config, name, 0)
        stages = [stage for stage in recipe.stages if stage.startswith('step')]
        epochs.append(sum(stage_config(recipe, stage).train_cfg.max_epochs for stage in stages))
    assert epochs == [12, 12]


def test_a_seed_is_that_of_the_run_and_of_the_weights():
    one, other = (variant_config(load_config('deeper_digits'), '34_layers', seed) for seed in (0, 1))
    assert (one.randomness.seed, other.randomness.seed) == (0, 1)
    assert one.model.backbone.depth == 34


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        ({'variants.same': {}}, r"variant 'same' is trained as '18_layers' is"),
        ({'variants.short': {'leave_out': ['step1']}}, r"variant 'short' leaves out 'step1', which is no stage"),
        ({'claims': [dict(text='x', better='50_layers', worse='18_layers')]}, r"a claim is about '50_layers'"),
    ],
)
def test_mistakes_in_variants(changed, sentence):
    config = load_config('deeper_digits')
    for key, value in changed.items():
        if key == 'claims':
            config.claims = value
        else:
            config.variants = {**config.variants, key.removeprefix('variants.'): value}
    with pytest.raises(InputError, match=sentence):
        check_variants(config)


@pytest.fixture
def trained(monkeypatch):
    """Replaces training: [(folder, stages, where the first one starts)] in order."""
    calls = []

    def run_stages(config, folder, *, resume):
        assert resume
        calls.append((folder, list(config.stages), next(iter(config.stages.values())).get('load_from')))
        for stage in config.stages:
            result = folder / stage / 'result.json'
            result.parent.mkdir(parents=True, exist_ok=True)
            content = dict(name=stage, epochs=2, top1=90.0 + len(calls), seconds=4.0, checkpoint='epoch_2.pth')
            result.write_text(json.dumps(content))

    monkeypatch.setattr(variants, 'run_stages', run_stages)
    return calls


def test_what_is_alike_is_trained_once_and_the_table_has_all(trained, tmp_path):
    config = load_config('two_step_digits')
    results = run_variants(config, range(2), tmp_path)
    clip = tmp_path / 'two_steps/seed1/clip/epoch_2.pth'
    assert trained == [
        (tmp_path / 'two_steps/seed0', ['float', 'leaky_clip', 'clip', 'step1', 'step2', 'bn'], None),
        (tmp_path / 'one_step/seed0', ['step2', 'bn'], str(tmp_path / 'two_steps/seed0/clip/epoch_2.pth')),
        (tmp_path / 'two_steps/seed1', ['float', 'leaky_clip', 'clip', 'step1', 'step2', 'bn'], None),
        (tmp_path / 'one_step/seed1', ['step2', 'bn'], str(clip)),
    ]
    text = ' '.join(variants_text(config, results, title='x').split())
    assert '| two steps | 92.00 ± 1.41 | 92.00 ± 1.41 | 92.00 ± 1.41 | 92.00 ± 1.41 | 92.00 ± 1.41 |' in text
    assert '| one step | 92.00 ± 1.41 | 92.00 ± 1.41 | 92.00 ± 1.41 | | 93.00 ± 1.41 | 93.00 ± 1.41 | 2.0 |' in text
    assert '| two steps > one | -1.00 | 0.00 | 0 of 2 | does not hold | |' in text
    assert 'over 2 seeds' in text
