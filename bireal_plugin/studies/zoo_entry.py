"""``write_entry``: a folder of the zoo from a work directory, in which everything is read from the run itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from mmengine.config import Config
from safetensors.torch import save

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.checkpoints.file import (
    KEY,
    OF_ONE_RUN,
    Checkpoint,
    Origin,
    origin_of,
    plain,
    read_checkpoint,
    state_dict_of,
)
from bireal_plugin.depth.inference.shipping import load_depth_network
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.config import plain_config
from bireal_plugin.shipping.network import load_network
from bireal_plugin.shipping.ship import Order, ship
from bireal_plugin.studies.speed.engines import machine
from bireal_plugin.training.config import build_runner, config_file, load_config, override
from bireal_plugin.training.recipe import build_model, stage_config
from bireal_plugin.training.stages import read_json, write_json
from bireal_plugin.training.trained import trained_config
from bireal_plugin.whole_file import whole
from bireal_plugin.zoo import CONFIG, LOG, TRAINING, WEIGHTS

ROOT = 'data_root'
FACTS = ('cpu', 'instructions', 'python', 'torch')  # of the machine


def write_entry(work_dir: Path, zoo: Path, *, training: str | None = None) -> Path:
    """Write the entry of a finished recipe into ``zoo/<config name>``, and return that folder.

    Its packed file is verified on test images of the config, and its accuracy is the one that training measured on all
    of them. The config is the one in this package with the overrides that the run had, and is refused where it would
    not train the same again. Places of data are left out.

    Args:
        training: stage whose weights are kept too, those of 1-bit convolutions in bfloat16.

    Raises:
        InputError: the run has not ended, its config is none of this package or has changed since, or the file fails.
    """
    rows = (read_json(work_dir / 'results.json') or {}).get('stages') or []
    contents = {row['name']: read_checkpoint(work_dir / row['checkpoint']) for row in rows}
    origins = {name: origin_of(content, str(work_dir / name)) for name, content in contents.items()}
    last = rows[-1]['name'] if rows else None
    if last is None or (origin := origins[last]) is None or [*origin.recipe] != [*origins]:
        raise InputError(f'{work_dir} holds no recipe that has ended: {", ".join(origins) or "no stage"} alone has')
    name = str(origin.name)
    recipe, overrides = _recipe(name, {stage: each.config for stage, each in origins.items() if each is not None})
    folder = zoo / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, plain_config(recipe.to_dict()))

    depth = recipe.model.type == 'DepthNetwork'
    source = work_dir / rows[-1]['checkpoint']
    load = load_depth_network if depth else load_network
    order = Order(['packed'], ['f32'], folder, Path(WEIGHTS).stem, verify=True, overwrite=True)
    shipment = ship(order, lambda: load(None, source))
    if shipment.problems:
        raise InputError('; '.join(shipment.problems))
    (found,) = shipment.verifications
    told = {} if found.top1 is None else dict(images=found.images, top1=100 * float(found.top1))
    error = found.layers and dict(layer_error=float(found.layers.layer_error))
    seed = contents[last]['meta']['seed']
    log = dict(
        config=name,
        command=_command(name, overrides, root=bool(recipe.get(ROOT))),
        data=_training_data(name),
        seed=seed,
        machine={key: machine()[key] for key in FACTS},
        stages=[{key: value for key, value in row.items() if key != 'checkpoint'} for row in rows],
        result=dict(delta1=100 * rows[-1]['depth/delta1']) if depth else dict(top1=rows[-1]['top1']),
        bytes=(folder / WEIGHTS).stat().st_size,
        verified={**told, **(error or {})},
    )
    if training is not None:
        log['training'] = _write_training(contents[training], str(work_dir / training), recipe, folder / TRAINING)
    write_json(folder / LOG, log)
    return folder


def _recipe(name: str, stages: Mapping[str, Mapping[str, Any]]) -> tuple[Config, dict[str, Any]]:
    """The config ``name`` with the overrides by which its stages are those that were trained, and the overrides."""

    def changes(config: Config) -> dict[str, dict[str, Any]]:
        ours = {stage: _comparable(stage_config(config, stage).to_dict()) for stage in stages}
        theirs = {stage: _comparable(each, ours[stage]) for stage, each in stages.items()}
        return {stage: dict(_changed(ours[stage], theirs[stage], '')) for stage in stages}

    found = changes(load_config(name))
    everywhere, *others = found.values()
    common = {key: value for key, value in everywhere.items() if all(other.get(key) == value for other in others)}
    single = {
        f'stages.{stage}.{key}': value
        for stage, each in found.items()
        for key, value in each.items()
        if key not in common
    }
    overrides = {**common, **single}
    recipe = load_config(name, overrides)
    if left := [f'{stage}: {key}' for stage, each in changes(recipe).items() for key in each]:
        raise InputError(f'{name} would not train again what this run has, with any override: {", ".join(left)}')
    return recipe, overrides


def _comparable(config: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A config as JSON without what no result depends on, and only with the keys of ``like``: a Runner adds its own."""
    kept = {
        key: value
        for key, value in config.items()
        if key not in (*OF_ONE_RUN, ROOT, 'visualizer') and (like is None or key in like)
    }
    return _without_places(plain_config(plain(kept)))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key != 'root'}
    return [_without_places(item) for item in value] if isinstance(value, list) else value


def _changed(ours: Any, theirs: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys at which two configs differ, and the values of the second one."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in {**ours, **theirs}:
            yield from _changed(ours.get(name), theirs.get(name), f'{key}.{name}' if key else name)
    elif ours != theirs:
        yield key, theirs


def _command(name: str, overrides: Mapping[str, Any], *, root: bool) -> str:
    words = [f'{ROOT}=PATH'] if root else []
    for key, value in overrides.items():
        words.append(f'{key}={value}'.replace(' ', ''))
    return ' '.join(['bireal train', name, *(['--cfg-options', *words] if words else [])])


def _training_data(name: str) -> str:
    """Name of a config's training data, as the metafile beside it tells."""
    file = Path(config_file(name)).with_name('metafile.yml')
    models = yaml.safe_load(file.read_text())['Models']
    return next(model['Metadata']['Training Data'] for model in models if model['Name'] == name)


def _write_training(content: Checkpoint, source: str, recipe: Config, path: Path) -> dict[str, Any]:
    """Write the weights of a stage to train on from, and return what is measured with them."""
    meta = dict(content['meta'][KEY])
    stage = stage_config(recipe, meta['stage'])
    meta['config'] = Origin.of_run(stage.to_dict()).config
    state = state_dict_of(content, source)
    for name, _ in binary_convolutions(build_model(stage)):
        latent = state[f'{name}.weight']
        state[f'{name}.weight'] = rounded = latent.bfloat16()
        if not torch.equal(rounded >= 0, latent >= 0):
            raise InputError(f'{source}: {name} has weights that bfloat16 gives another sign')
    told = plain(content['meta'].get('dataset_meta') or {})

    def write() -> None:
        texts = {KEY: json.dumps(plain_config(meta)), 'dataset_meta': json.dumps(told)}
        with whole(path) as partial:
            partial.write_bytes(save({name: value.contiguous() for name, value in state.items()}, texts))

    meta['metrics'] = {}
    write()
    with tempfile.TemporaryDirectory() as folder:
        config = override(trained_config(None, path), {ROOT: content['meta'][KEY]['config'].get(ROOT)})
        config.work_dir, config.load_from, config.load_strict = folder, str(path), True
        meta['metrics'] = build_runner(config).test()
    write()
    kinds = dict(stage=meta['stage'], bytes=path.stat().st_size, latent_weights='bfloat16')
    return {**kinds, **{key.removeprefix('accuracy/'): value for key, value in meta['metrics'].items()}}
