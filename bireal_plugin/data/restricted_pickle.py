"""Reader of uint8 arrays in pickles that lets no pickle run code.

The names by which a pickle asks for numpy are answered with stand-ins that only take notes. Even numpy's own code
would be unsafe: ``numpy.dtype.__setstate__`` takes the flag "these bytes are pointers to objects" from the pickle, and
a few changed bytes crash the process.
"""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from bireal_plugin.errors import InputError

# Documented by the standard library, or raised by corrupt opcodes in tests.
CORRUPT = (
    *(pickle.UnpicklingError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OverflowError),
    *(TypeError, ValueError),
)

# Opcodes that keep an object in a numbered place; the C reader makes a table of as many places.
PLACES = ('PUT', 'BINPUT', 'LONG_BINPUT')


class _Recorded:
    """Record of an array or dtype in a pickle: the arguments of its constructor and its state."""

    __slots__ = ('arguments', 'state')
    state: Any

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of plain containers and recorded arrays that refuses to look up any name but those of numpy's arrays.

    Raises:
        InputError: any other name.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding='bytes')
        self.unspent = len(content)

    def find_class(self, module: str, name: str) -> Any:
        # Bound methods, because a pickle could set attributes of a class or a function that it gets hold of.
        match module, name:
            case ('numpy.core.multiarray' | 'numpy._core.multiarray', '_reconstruct') | ('numpy', 'dtype'):
                return self._record
            case ('numpy', 'ndarray'):
                return None
            case ('_codecs', 'encode'):
                return self._encode
        raise InputError(f'wants to call {module}.{name}, which no file of plain arrays needs, and was not run')

    def _record(self, *arguments: Any) -> _Recorded:
        return _Recorded(*arguments)

    def _encode(self, text: str, encoding: str) -> bytes:
        """Protocol 2 of Python 3 writes bytes as Latin-1 text."""
        if encoding not in ('latin1', b'latin1'):
            raise ValueError(f'bytes encoded as {encoding!r}')
        self.unspent -= len(text)  # one text, encoded again and again, makes any number of bytes
        if self.unspent < 0:
            raise ValueError('more bytes than the file has')
        return text.encode('latin1')


def load_arrays(file: Path) -> Any:
    """Load a pickle of containers, numbers, bytes and, as values of an outermost dictionary, uint8 arrays.

    Strings written by Python 2 come back as bytes.

    Raises:
        InputError: the pickle refers to anything else, has an array of another type, or is truncated or corrupt.
    """
    try:
        content = file.read_bytes()
        check_sizes(content)
        loaded = ArrayUnpickler(content).load()
        if isinstance(loaded, dict):
            return {key: _array(value) if isinstance(value, _Recorded) else value for key, value in loaded.items()}
        return loaded
    except InputError as error:
        raise InputError(f'{file} {error}: download it again from its author') from error
    except CORRUPT as error:
        raise InputError(f'{file} is truncated or no pickle of uint8 arrays ({error}): download it again') from error


def check_sizes(content: bytes) -> None:
    """Refuse a pickle that would make its reader allocate more than it has: for a long text, or for a high place.

    Raises:
        ValueError: a text is longer than the file, or objects are kept in places beyond their number.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in PLACES and argument is not None and argument > number:
            raise ValueError(f'place {argument} for one of {number} objects')


def _array(recorded: _Recorded) -> np.ndarray:
    """From the state that ``ndarray.__reduce__`` documents: version, shape, dtype, column order, bytes."""
    _, shape, dtype, column_order, content = recorded.state
    if not isinstance(dtype, _Recorded) or dtype.arguments[:1] not in ((b'u1',), ('u1',)):
        raise ValueError('an array is not of type uint8')
    if not isinstance(content, bytes) or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError('an array has no bytes or no shape')
    if math.prod(shape) != len(content):
        raise ValueError(f'an array of shape {shape} has {len(content)} bytes')
    return np.frombuffer(content, dtype=np.uint8).reshape(shape, order='F' if column_order else 'C')
