"""Variants of one recipe, as a config lists them: trained at equal budget with every seed, and compared in pairs.

A config has ``variants``, a dict of name to overrides such as ``{'model.backbone.depth': 34}``, whose key ``leave_out``
names stages that the variant skips; and ``claims``, a list of ``dict(text, better, worse, paper)`` about two variants
each, ``paper`` being the difference that the paper reports. Stages with which a variant begins like the first one are
trained once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import seed_overrides
from bireal_plugin.studies.ablation.paper_table import MARGIN, judge
from bireal_plugin.studies.ablation.report import entry, finding_row
from bireal_plugin.text_table import markdown_table
from bireal_plugin.training import run_stages, stage_config
from bireal_plugin.training.recipe import check_stages
from bireal_plugin.training.stages import Result, collect_results

Results = dict[tuple[str, int], list[Result]]  # (variant, seed) -> its stages that have ended, shared ones included


def variant_config(config: Config, name: str, seed: int) -> Config:
    """The recipe of one variant with one seed, an ordinary config with stages.

    Raises:
        InputError: ``leave_out`` names a stage that there is not.
    """
    content = config.to_dict()
    options = dict(content.pop('variants')[name])
    content.pop('claims', None)
    left_out = options.pop('leave_out', [])
    if unknown := [stage for stage in left_out if stage not in content['stages']]:
        raise InputError(f'{config.filename}: variant {name!r} leaves out {unknown[0]!r}, which is no stage')
    content['stages'] = {stage: each for stage, each in content['stages'].items() if stage not in left_out}
    merged = Config(content, filename=config.filename)
    merged.merge_from_dict({**options, **seed_overrides(merged, seed)})
    return merged


def shared_stages(first: Config, other: Config) -> list[str]:
    """The stages with which both recipes begin, trained alike in both."""
    shared = []
    for name, theirs in zip(first.stages, other.stages, strict=False):
        if name != theirs:
            break
        one, two = ({**stage_config(each, name).to_dict(), 'recipe': None} for each in (first, other))
        if one != two:
            break
        shared.append(name)
    return shared


def check_variants(config: Config) -> None:
    """Build every variant's stages without memory.

    Raises:
        InputError: a variant that cannot be built or is the first one again, or a claim about one that there is not.
    """
    configs = {name: variant_config(config, name, 0) for name in config.variants}
    first = next(iter(configs))
    for name, each in configs.items():
        check_stages(each)
        if name != first and shared_stages(configs[first], each) == list(each.stages):
            raise InputError(f'{config.filename}: variant {name!r} is trained as {first!r} is')
    for claim in config.get('claims', []):
        for name in (claim['better'], claim['worse']):
            if name not in configs:
                raise InputError(f'{config.filename}: a claim is about {name!r}; variants are {", ".join(configs)}')


def run_variants(
    config: Config, seeds: Sequence[int], work_dir: Path, *, ended: Callable[[Results], None] = lambda results: None
) -> Results:
    """Train every variant with every seed in ``work_dir/VARIANT/seedN``; what has ended before is kept.

    Args:
        ended: called after each variant of each seed.
    """
    results: Results = {}
    first = next(iter(config.variants))
    for seed in seeds:
        start = variant_config(config, first, seed)
        for name in config.variants:
            recipe = variant_config(config, name, seed)
            own = dict(recipe.stages)
            common = [] if name == first else shared_stages(start, recipe)
            before = collect_results(work_dir / first / f'seed{seed}', common)
            if common:
                own = {stage: each for stage, each in own.items() if stage not in common}
                source = work_dir / first / f'seed{seed}' / before[-1]['checkpoint']
                opening = next(iter(own))
                own[opening] = {**own[opening], 'load_from': str(source), 'load_strict': True}
                recipe.stages = own
            folder = work_dir / name / f'seed{seed}'
            run_stages(recipe, folder, resume=True)
            results[name, seed] = [*before, *collect_results(folder, list(own))]
            ended(results)
    return results


def variants_text(config: Config, results: Results, *, title: str) -> str:
    """The Markdown page ``variants.md``: accuracy of every variant behind each stage, and the verdict on each claim."""
    stages = list(config.stages)
    seeds = sorted({seed for _, seed in results})
    lines: list[dict[str, str]] = []
    for name in dict.fromkeys(name for name, _ in results):
        runs = [rows for (variant, _), rows in results.items() if variant == name]
        line: dict[str, str] = {'variant': name.replace('_', ' ')}
        for stage in stages:
            accuracies = [row['top1'] for rows in runs for row in rows if row['name'] == stage]
            line[stage] = entry(accuracies)
        # The last stage that all of them train; retraining BatchNorm for an epoch says little about time.
        last = [rows[-2 if rows[-1]['name'] == 'bn' else -1] for rows in runs]
        line['s/epoch'] = f'{sum(row["seconds"] for row in last) / sum(row["epochs"] for row in last):.1f}'
        lines.append(line)
    findings = [_finding(claim, results) for claim in config.get('claims', [])]
    return (
        f'# {title}\n\nTop-1 accuracy in % behind each stage, mean ± standard deviation over {len(seeds)} '
        f'seed{"" if len(seeds) == 1 else "s"}; seconds are of an epoch with 1-bit weights.\n\n'
        f'{markdown_table(lines, left=("variant",))}\n\n'
        f'A claim *holds* where the mean difference is more than {MARGIN:g} standard errors above 0.\n\n'
        f'{markdown_table(findings, left=("claim", "verdict"))}\n'
    )


def _finding(claim: Mapping[str, str], results: Results) -> dict[str, str]:
    """Differences in the last stage's accuracy between runs of one seed."""
    top1 = {run: rows[-1]['top1'] for run, rows in results.items()}
    pairs = [[(claim[side], seed) for side in ('better', 'worse')] for seed in sorted({seed for _, seed in results})]
    differences = [top1[better] - top1[worse] for better, worse in pairs if better in top1 and worse in top1]
    return finding_row(claim['text'], judge(differences), claim.get('paper', ''))
