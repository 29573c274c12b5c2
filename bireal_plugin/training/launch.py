"""Starting one of several processes: mmengine does it for GPUs, this file for CPUs (gloo)."""

from __future__ import annotations

import os

import torch
import torch.distributed
from mmengine.config import Config

from bireal_plugin.errors import InputError

ENVIRONMENT = {
    'pytorch': dict(RANK='RANK', WORLD_SIZE='WORLD_SIZE', LOCAL_RANK='LOCAL_RANK'),
    'slurm': dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    'mpi': dict(
        RANK='OMPI_COMM_WORLD_RANK', WORLD_SIZE='OMPI_COMM_WORLD_SIZE', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK'
    ),
}


def prepare_launch(config: Config, launcher: str) -> None:
    """Set ``config.launcher``; on a machine without GPU also start the process group and make DDP take CPU tensors.

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
    if torch.cuda.is_available():
        return
    for name, source in ENVIRONMENT[launcher].items():
        os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': config.get('find_unused_parameters', False),
        **config.get('model_wrapper_cfg', {}),
        'device_ids': None,
    }
