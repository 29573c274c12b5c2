"""An exported OpenVINO model on disk: ``net.xml`` and ``net.bin``, with a checksum over both inside the .xml.

The checksum is compared before the engine reads anything, so that a truncated or damaged file is a sentence and not a
crash in a parser.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bireal_plugin.errors import InputError, last_line
from bireal_plugin.whole_file import whole_set

SECTION = 'bireal'
VERSION = '1'
BLANK = '0' * 64
CHECKSUM = re.compile(rb'<checksum value="([0-9a-f]{64})" />')
# OpenVINO's mark of layers that compute in the file's own precision. It names float16 and works for bfloat16 too.
MARK = b'<attribute name="DisablePrecisionConversion" version="0" value="dynamic:f16" />'
MARK_KEY = 'DisablePrecisionConversion_0'
FORMAT_VERSION = re.compile(rb'<format_version value="([^"]{1,20})" />')


def write(ov: Any, model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Save ``model`` at ``path`` (.xml) with ``metadata``; both files appear whole or not at all."""
    for key, value in {**metadata, 'format_version': VERSION, 'checksum': BLANK}.items():
        model.set_rt_info(value, [SECTION, key])
    with whole_set(path.with_suffix('.bin'), path) as (weights, xml):
        try:
            ov.save_model(model, str(xml), compress_to_fp16=False)
        except RuntimeError as error:  # which tells no reason
            raise InputError(f'{path} cannot be written: is the disk full? ({last_line(error)})') from error
        text = _kept_in_float32(xml.read_bytes())
        xml.write_bytes(CHECKSUM.sub(_element(_digest(text, weights.read_bytes())), text, count=1))


def _kept_in_float32(text: bytes) -> bytes:
    """The .xml with a mark on every layer that keeps a plain ``core.compile_model`` from computing it in bfloat16."""
    text = text.replace(MARK, b'')
    text = re.sub(rb'(<layer [^>]*>\s*(?:<data [^>]*/>\s*)?)(?=<input>|<output>)', rb'\1<rt_info></rt_info>', text)
    return re.sub(rb'(<layer [^>]*>\s*(?:<data [^>]*/>\s*)?<rt_info>)', rb'\1' + MARK, text)


def unmarked(model: Any) -> Any:
    """``model`` without these marks, changed in place."""
    for node in model.get_ops():
        if MARK_KEY in node.get_rt_info():
            del node.get_rt_info()[MARK_KEY]
    return model


def check(path: Path) -> None:
    """Raise InputError unless ``path`` and the .bin beside it are as ``write`` left them."""
    weights = path.with_suffix('.bin')
    for file in (path, weights):
        if not file.is_file():
            raise InputError(
                f'OpenVINO model {file} does not exist; an exported network is {path.name} + {weights.name}'
            )
    text = path.read_bytes()
    version = FORMAT_VERSION.search(text)
    found = CHECKSUM.findall(text)
    if version is None or len(found) != 1:
        raise InputError(f'{path} is truncated, or no OpenVINO model that this package exported')
    if version[1].decode(errors='replace') != VERSION:
        raise InputError(
            f'{path} has format version {version[1].decode(errors="replace")!r}; this release reads {VERSION}'
        )
    if found[0].decode() != _digest(CHECKSUM.sub(_element(BLANK), text), weights.read_bytes()):
        raise InputError(
            f'{path} or {weights.name} was changed after it was written: its checksum does not match; get it again'
        )


def metadata(model: Any) -> dict[str, str]:
    """The texts in a model that was read: those that ``write`` was given, format version and checksum."""
    if not model.has_rt_info([SECTION]):
        return {}
    return {key: str(value) for key, value in model.get_rt_info([SECTION]).value.items()}


def _digest(text: bytes, weights: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(text).digest() + hashlib.sha256(weights).digest()).hexdigest()


def _element(checksum: str) -> bytes:
    return b'<checksum value="%s" />' % checksum.encode()
