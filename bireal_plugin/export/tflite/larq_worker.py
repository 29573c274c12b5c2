"""The process that runs a .tflite file in Larq's interpreter, in an environment of its own (numpy below 2).

Started by ``larq_process.py`` as ``python -I larq_worker.py THREADS KERNEL``; without -I, modules beside this file
would stand in the way of Python's own. It imports nothing of this package, for that environment has
neither it nor torch. The released interpreter is a compiled module inside of ``larq_compute_engine``; it is loaded by
its file, because importing the package around it would import TensorFlow.

Messages on both pipes are blocks: eight bytes of length, lowest first, then the content. In comes the model, and then
one block per batch, an .npy; the end of the pipe ends the process. Out goes one JSON block per block that came in:
``{"input": shape, "outputs": number}`` after the model, ``{"outputs": number}`` and that many .npy blocks after a
batch, or ``{"error": sentence}``, which is the last.
"""

import importlib.machinery
import importlib.util
import io
import json
import os
import struct
import sys
from typing import IO, Any

PACKAGE = 'larq_compute_engine'
INTERPRETER = os.path.join('tflite', 'python', 'interpreter_wrapper_lite.so')


def main() -> None:
    """Serve until the pipe ends."""
    source = sys.stdin.buffer
    # The interpreter writes messages to standard output, which would tear the answers apart.
    sink = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)
    try:
        serve(source, sink, int(sys.argv[1]), sys.argv[2])
    except (ImportError, RuntimeError, ValueError) as error:
        write(sink, json.dumps({'error': ' '.join(str(error).split())}).encode())
        sys.exit(1)


def serve(source: IO[bytes], sink: IO[bytes], threads: int, kernel: str) -> None:
    """Answer the model, then every batch."""
    interpreter_module = load()
    import numpy

    model = read(source)
    if model is None:
        return
    # The last argument, XNNPACK for the real layers, gains nothing here.
    interpreter = interpreter_module.LiteInterpreter(model, threads, kernel == 'reference', kernel == 'indirect', False)
    (shape,) = interpreter.input_shapes
    write(sink, json.dumps({'input': list(shape), 'outputs': len(interpreter.output_shapes)}).encode())
    while (block := read(source)) is not None:
        batch = numpy.load(io.BytesIO(block), allow_pickle=False)
        outputs = interpreter.predict([batch])
        write(sink, json.dumps({'outputs': len(outputs)}).encode())
        for output in outputs:
            content = io.BytesIO()
            numpy.save(content, numpy.ascontiguousarray(output), allow_pickle=False)
            write(sink, content.getvalue())


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


def read(source: IO[bytes]) -> 'bytes | None':
    """The next block, None at the end of the pipe."""
    head = source.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack('<Q', head)
    block = source.read(length)
    return block if len(block) == length else None


def write(sink: IO[bytes], block: bytes) -> None:
    """Send one block."""
    sink.write(struct.pack('<Q', len(block)))
    sink.write(block)
    sink.flush()


if __name__ == '__main__':
    main()
