"""The process that runs a .tflite file in Larq's interpreter, in an environment of its own (numpy below 2).

Started by ``larq_process.py`` as ``python -I larq_worker.py FD THREADS KERNEL``; without -I, modules beside this file
would stand in the way of Python's own. It imports nothing of this package, for that environment has neither it nor
torch. The released interpreter is a compiled module inside of ``larq_compute_engine``; it is loaded by its file,
because importing the package around it would import TensorFlow.

In comes the model, and then batch after batch, all inputs in a row, as float32; the end of the connection ends the
process. Every answer begins with a sentence, which is empty where all is well and the last block where it is not.
Behind it stand, after the model, the shapes of its inputs and outputs as JSON, and after a batch its outputs, as
float32.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

PACKAGE = 'larq_compute_engine'
INTERPRETER = os.path.join('tflite', 'python', 'interpreter_wrapper_lite.so')


def serve(connection: Connection, threads: int, kernel: str) -> None:
    """Answer the model, then every batch, until the connection ends."""
    interpreter_module = load()
    import numpy

    model = connection.recv_bytes()
    # The last argument, XNNPACK for the real layers, gains nothing here.
    interpreter = interpreter_module.LiteInterpreter(model, threads, kernel == 'reference', kernel == 'indirect', False)
    shapes = [list(shape) for shape in interpreter.input_shapes]
    answer = [json.dumps([shapes, [list(shape) for shape in interpreter.output_shapes]]).encode()]
    ends = numpy.cumsum([numpy.prod(shape) for shape in shapes])[:-1]
    while True:
        for block in (b'', *answer):
            connection.send_bytes(block)
        parts = numpy.split(numpy.frombuffer(connection.recv_bytes(), 'float32'), ends)
        outputs = interpreter.predict(list(map(numpy.reshape, parts, shapes)))
        answer = [numpy.ascontiguousarray(output, 'float32').tobytes() for output in outputs]


def load() -> Any:
    """The compiled module of the interpreter."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ImportError(f'{sys.executable} has no package {PACKAGE}')
    path = os.path.join(package.submodule_search_locations[0], INTERPRETER)
    name = os.path.basename(path).partition('.')[0]
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=path))
    loader.exec_module(module)
    return module


if __name__ == '__main__':
    with Connection(int(sys.argv[1])) as ours, suppress(EOFError):
        try:
            serve(ours, int(sys.argv[2]), sys.argv[3])
        except (ImportError, RuntimeError, ValueError) as error:
            ours.send_bytes(' '.join(str(error).split()).encode())
            sys.exit(1)
