"""From a trained network to files that run: fold, pack, one file per target engine, and the proof that it is right.

``export(model, format, example_shape)`` writes any of them, ``Session(path)`` runs any of them.
"""

from bireal_plugin.export import in_place  # noqa: F401  engines of switch_to_deploy
from bireal_plugin.export.c import operator  # noqa: F401  the operator's kernels on a CPU
from bireal_plugin.export.engines import Session, export
from bireal_plugin.folding.fold import fold

__all__ = ['Session', 'export', 'fold']
