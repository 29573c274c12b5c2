"""Reading configs as a command line does: overrides, work directory, launcher, and mistakes told in one sentence."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.dist import init_dist
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import DATASETS, OPTIM_WRAPPERS, RUNNERS, DefaultScope
from mmengine.runner import Runner

from bireal_plugin.errors import InputError
from bireal_plugin.hosts.mmengine_private import plain_yaml

# In a checkout a link to the folder configs/; in a wheel the files themselves, where OpenMMLab's packages have theirs.
CONFIGS = (Path(__file__).parents[1] / '.mim' / 'configs').resolve()

# Keys of a config that a Runner reads: its arguments, and entries of the whole config.
CONFIG_KEYS = {
    *inspect.signature(Runner.__init__).parameters,
    *('activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'find_unused_parameters', 'load_strict'),
    *('allow_partial', 'model_wrapper_cfg', 'runner_type', 'sync_bn'),
} - {'self', 'cfg'}

# Dictionaries that are written in Python, whose own code is not what looked a key up.
CONTAINERS = {'mmengine.config.config', 'addict.addict', 'collections', 'contextlib', __name__}

ANSWER = 600  # s that processes wait for each other, unless env_cfg.dist_cfg.timeout says otherwise
MISTAKES = (
    *(KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError, IndexError),
    *(RuntimeError, ArithmeticError),
)

# The environment variables of torch.distributed, and what each launcher calls them.
ENVIRONMENT = {
    'pytorch': dict(RANK='RANK', WORLD_SIZE='WORLD_SIZE', LOCAL_RANK='LOCAL_RANK'),
    'slurm': dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    'mpi': {name: f'OMPI_COMM_WORLD_{name.removeprefix("WORLD_")}' for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')},
}


@contextmanager
def config_mistakes(where: str) -> Iterator[None]:
    """Turns what mmengine raises while building from a wrong config into one sentence that names ``where``."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{where}: {error}') from error
    except MISTAKES as error:
        message = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
        if isinstance(error, KeyError) and ' ' not in message:  # the key alone: add the code that looked it up
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]
            asking = next((each for each in frames if each.f_globals['__name__'] not in CONTAINERS), frames[0])
            name, owner = asking.f_code.co_name, asking.f_locals.get('self')
            name = name if owner is None else f'{type(owner).__name__}.{name}'
            message = f'{message!r} is missing: {name} of {asking.f_globals["__name__"]} looks it up'
        raise InputError(f'{where}: {message.splitlines()[0] if message else type(error).__name__}') from error


def load_config(path: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config ``path``, a file or the name of one in this package, with dotted overrides merged in.

    Raises:
        InputError: no such file, a syntax error in it, YAML of more than plain values, or an override into something
            that is not there to override.
    """
    path = config_file(path)
    with config_mistakes(path):
        try:
            with plain_yaml():
                config = Config.fromfile(path)
        except (SyntaxError, NameError, OSError, ConfigParsingError, RecursionError, ArithmeticError) as error:
            raise InputError(str(error)) from error
        except ImportError as error:  # mmengine's own sentence is the list of all imports and sys.path
            raise InputError(f'custom_imports: {error.__cause__ or error}') from error
    override(config, overrides or {})
    with config_mistakes(path):
        for part in _with_optimizers(config):
            kind = part.optim_wrapper.get('type')
            kind = OPTIM_WRAPPERS.get(kind) if isinstance(kind, str) and '.' in kind else kind
            if kind is AmpOptimWrapper:  # imported, past the registry, where ours has its place
                part.optim_wrapper.type = AmpOptimWrapper.__name__
    return config


def _with_optimizers(config: Config) -> list[Any]:
    """The parts of a config, itself and its stages, in which an optimizer stands."""
    return [part for part in (config, *(config.get('stages') or {}).values()) if part.get('optim_wrapper')]


def override(config: Config, overrides: Mapping[str, Any]) -> Config:
    """``config``, changed in place: dotted overrides merged in, ``data_root`` handed to datasets that had the same.

    Raises:
        InputError: an override into something that is not there to override.
    """
    earlier_root = config.get('data_root')
    stages = config.get('stages') or {}
    with config_mistakes(str(config.filename)):
        for path in overrides:  # mmengine would merge in keys that nobody reads
            first, *rest = path.split('.')
            if first not in config and first not in CONFIG_KEYS:
                raise InputError(f'--cfg-options {path}: there is no {first!r} here; there are: {", ".join(config)}')
            if first == 'stages' and rest and rest[0] not in stages:
                raise InputError(f'--cfg-options {path}: the stages are: {", ".join(stages)}')
        if overrides:
            config.merge_from_dict(dict(overrides))
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key) or {}
        dataset = loader.get('dataset', {}) if isinstance(loader, dict) else loader
        if not isinstance(dataset, dict):
            raise InputError(f'{config.filename}: {key} must be a dict with a dict dataset, not {loader!r:.80}')
        if 'root' in dataset and dataset['root'] in (None, earlier_root):
            dataset['root'] = config.get('data_root')
    for part in ('val', 'test'):  # mmengine wants all three or none
        if f'{part}_dataloader' in config and config[f'{part}_dataloader'] is None:
            config[f'{part}_cfg'] = config[f'{part}_evaluator'] = None
    return config


def config_file(given: str) -> str:
    """Path of a config: ``given`` if that is a file, else the config of this package that has that name.

    Names are ``bireal_r18_digits`` or, with its folder, ``depth/bireal_r18_street``.

    Raises:
        InputError: neither a file nor a name; the sentence lists the names that are near, or all.
    """
    if Path(given).is_file():
        return given
    files = [file for file in CONFIGS.rglob('*.py') if '_base_' not in file.parts]
    names = {file.stem: file for file in files}
    names |= {file.relative_to(CONFIGS).with_suffix('').as_posix(): file for file in files}
    if given.removesuffix('.py') in names:
        return str(names[given.removesuffix('.py')])
    near = get_close_matches(Path(given).stem, names, n=3) or sorted({file.stem for file in files})
    raise InputError(f'config {given} does not exist; by name there are {", ".join(near)}')


def scope_of(config: Config) -> AbstractContextManager[None]:
    """Looks types up where the config's ``default_scope`` says, else in mmengine's own registries."""
    return DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmengine')


def dataset_of(config: Mapping[str, Any], split: str = 'test') -> dict[str, Any]:
    """The entry of a data set, ``train``, ``val`` or ``test``; empty where the config has none."""
    return (config.get(f'{split}_dataloader') or {}).get('dataset') or {}


def build_dataset(config: Config, dataset: Mapping[str, Any]) -> Any:
    """The data set ``dataset`` of ``config``, whose ``default_scope`` says where its type is looked up.

    Raises:
        InputError: it cannot be built.
    """
    with config_mistakes(str(config.filename)), scope_of(config):
        return DATASETS.build(dataset)


def work_dir_of(config: Config, given: str | None) -> str:
    """``--work-dir``, else the config's ``work_dir``, else ``work_dirs/<config name>``."""
    return given or config.get('work_dir') or str(Path('work_dirs', Path(config.filename).stem))


def use_amp(config: Config) -> None:
    """Train in mixed precision (``--amp``), in every stage; on a CPU that is bfloat16."""
    for part in _with_optimizers(config):
        part.optim_wrapper.type = AmpOptimWrapper.__name__


def use_auto_scale_lr(config: Config) -> None:
    """Scale learning rates by (real total batch) / ``auto_scale_lr.base_batch_size`` (``--auto-scale-lr``)."""
    if 'base_batch_size' not in config.get('auto_scale_lr', {}):
        raise InputError(f'--auto-scale-lr: {config.filename} has no auto_scale_lr=dict(base_batch_size=...)')
    config.auto_scale_lr.enable = True


def prepare_launch(config: Config, launcher: str) -> None:
    """Set ``config.launcher`` and start the process group, which a Runner would do too late: after folders were moved.

    On a machine without GPU also make DDP take CPU tensors.

    Raises:
        InputError: the variables that the launcher sets are not in the environment.
    """
    config.launcher = launcher
    if launcher == 'none':
        return
    absent = [source for source in ENVIRONMENT[launcher].values() if source not in os.environ]
    if absent:
        hint = 'start it with: torchrun --nproc_per_node=2 tools/train.py ... --launcher pytorch'
        raise InputError(f'--launcher {launcher} needs {", ".join(absent)} in the environment; {hint}')
    options = (config.get('env_cfg') or {}).get('dist_cfg') or {}
    if torch.cuda.is_available():
        if torch.multiprocessing.get_start_method(allow_none=True) is None:
            torch.multiprocessing.set_start_method('fork')  # as a Runner would, before it starts the group
        init_dist(launcher, **{'timeout': ANSWER, **options})
        return
    for name, source in ENVIRONMENT[launcher].items():
        os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=float(options.get('timeout', ANSWER))))
    config.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': config.get('find_unused_parameters', False),
        **config.get('model_wrapper_cfg', {}),
        'device_ids': None,
    }


def build_runner(config: Config) -> Runner:
    """The runner of an ordinary config; ours unless the config names its own ``runner_type``."""
    config.setdefault('runner_type', 'BiRealRunner')
    with config_mistakes(str(config.filename)):
        return RUNNERS.build(config)
