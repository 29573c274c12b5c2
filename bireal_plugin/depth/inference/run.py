"""Depth of many images and videos: each is predicted, measured and saved, and a bad one costs itself alone.

Threads read, draw and write the other images while the network sees one of them, so that it seldom waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial

from bireal_plugin.depth.inference.batch import Batch, Told, Wanted
from bireal_plugin.depth.inference.film import film
from bireal_plugin.depth.inference.in_order import InOrder, threads
from bireal_plugin.depth.inference.inputs import CameraChoice, Input
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.errors import InputError
from bireal_plugin.progress import progress
from bireal_plugin.whole_file import remove_left


def infer(
    inputs: Sequence[Input],
    predictor: Predictor,
    cameras: CameraChoice,
    wanted: Wanted,
    *,
    problems: Sequence[str] = (),
) -> Batch:
    """Work through the inputs; results go to stdout, progress and problems to stderr, in the order of the inputs.

    Args:
        problems: sentences on inputs that were not found, which the report begins with.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        wanted.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'--out {wanted.folder} cannot be made a folder: {error.strerror}') from error
    if not os.access(wanted.folder, os.W_OK | os.X_OK):
        raise InputError(f'--out {wanted.folder} may not be written to; give another folder')
    remove_left(wanted.folder)
    start = time.perf_counter()
    with threads() as given:
        batch = Batch(predictor, cameras, wanted, given)
        batch.tell(Told(problems=[*problems]))
        images = InOrder(given.work, batch.tell)
        for number, item in enumerate(progress(inputs, unit='input'), start=1):
            place = f'[{number}/{len(inputs)}] {item}'
            if item.is_video:
                images.finish()
                batch.tell(batch.tried(item, partial(film, batch, item, place)))
            else:
                images.put(partial(batch.tried, item, partial(batch.image, item, place)))
        images.finish()
    batch.seconds = time.perf_counter() - start
    return batch
