"""Bi-Real Net for timm and OpenMMLab: 1-bit convolutions, backbones, training recipe, export.

Importing this package registers everything in mmengine's root registries and in timm; an OpenMMLab config needs only
``custom_imports = dict(imports=['bireal_plugin'])``. It needs neither mmcv nor mmdet. Where mmengine is not installed,
``bireal_plugin.binary`` is all there is, and needs torch alone.
"""

from importlib.util import find_spec

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.version import __version__

if find_spec('mmengine'):
    from bireal_plugin import data, training  # noqa: F401  registers datasets, transforms, hooks and metrics
    from bireal_plugin.cost import model_cost

    # ``export`` is the function from here on. ``from bireal_plugin.export import Session`` still finds the package:
    # Python looks modules up by their full name, as for ``unittest.main`` and the file ``unittest/main.py``.
    from bireal_plugin.export import Session, export
    from bireal_plugin.export.packed.file import load_packed as load
    from bireal_plugin.export.packed.inspection import inspect_packed as inspect
    from bireal_plugin.folding.absorb import absorb_scales
    from bireal_plugin.folding.fold import fold
    from bireal_plugin.mmcv_operators.finder import offer_operators
    from bireal_plugin.models import BiRealClassifier, BiRealConfig, BiRealResNet, binarize
    from bireal_plugin.shipping.hub import push_to_hub
    from bireal_plugin.training.trained import load_trained

    offer_operators()
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        raise ImportError(f'bireal_plugin.{name} needs mmengine, which is not installed; pip install bireal-plugin')


__all__ = ['BiRealClassifier', 'BiRealConfig', 'BiRealResNet', 'BinaryConv2d', 'InputError', 'Session', '__version__']
__all__ += ['absorb_scales', 'binarize', 'export', 'fold', 'inspect', 'load', 'load_trained', 'model_cost']
__all__ += ['push_to_hub']
