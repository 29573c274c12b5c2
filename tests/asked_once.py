"""Results of other packages' functions that are asked for again and again, kept in this process."""

import contextlib
import functools
import importlib
from collections.abc import Callable
from typing import Any

# The text of a config for each of its checkpoints, a third of a tiny training; the translations of all operators and
# their signatures for each export to ONNX, more than half of a small one; and the list of all operators, twice for
# every other export, though those that a network calls are on it.
ASKED_AGAIN = (
    'mmengine.config.config.FormatCode',
    'onnxscript._framework_apis.torch_2_11.get_torchlib_ops',
    'torch.onnx._internal.exporter._schemas.op_signature_from_function',
    'torch._export.utils._materialize_cpp_cia_ops',
)


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """``functools.cache`` for options that have no hash."""
    results: dict[Any, Any] = {}

    @functools.wraps(function)
    def kept(*arguments: Any, **options: Any) -> Any:
        key = arguments, repr(options)
        if key not in results:
            results[key] = function(*arguments, **options)
        return results[key]

    return kept


def ask_once() -> None:
    """Keep the results from now on, where the installed versions have these functions."""
    for name in ASKED_AGAIN:
        with contextlib.suppress(ImportError):
            module, _, function = name.rpartition('.')
            place = importlib.import_module(module)
            if there := getattr(place, function, None):
                setattr(place, function, once(there))
