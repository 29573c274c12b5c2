"""Where mmcv's operators come from: the compiled ones if there are any, ours if there are none."""

import importlib
import sys
from importlib.machinery import PathFinder
from unittest.mock import patch

import pytest
from mmengine.logging import MMLogger

from bireal_plugin.errors import InputError
from bireal_plugin.mmcv_operators.boxes import nms
from bireal_plugin.mmcv_operators.finder import EXTENSION, OperatorFinder, absent, offer_operators


@pytest.fixture
def mmcv_with(tmp_path, monkeypatch):
    """Puts another package ``mmcv`` in place, of the files that are given by name."""

    def write(**files):
        (tmp_path / 'mmcv').mkdir()
        for name, content in dict(__init__='', **files).items():
            (tmp_path / 'mmcv' / f'{name}.py').write_text(content)
        monkeypatch.syspath_prepend(tmp_path)

    others = {name: module for name, module in sys.modules.items() if name.partition('.')[0] != 'mmcv'}
    with patch.dict(sys.modules, others, clear=True):
        yield write


@pytest.fixture
def log(tmp_path):
    """Reads the log that mmengine writes."""
    file = tmp_path / 'log.txt'
    MMLogger.get_instance(str(tmp_path), log_file=str(file))
    return file.read_text


def test_ours_are_found_where_there_are_none_and_the_log_says_so_once(mmcv_with, log):
    mmcv_with()
    for _ in range(2):
        found = importlib.import_module(EXTENSION)
    assert found.nms is nms
    assert found.get_compiler_version() == 'n/a'
    assert log().count('mmcv has no compiled operators') == 1


def test_compiled_ones_come_first(mmcv_with, log):
    mmcv_with(_ext='nms = "compiled"')
    assert importlib.import_module(EXTENSION).nms == 'compiled'
    assert log() == ''


def test_compiled_ones_that_do_not_load_are_an_error_and_not_replaced(mmcv_with, log):
    mmcv_with(_ext='raise ImportError("undefined symbol: _ZN2at")')
    with pytest.raises(ImportError, match='undefined symbol: _ZN2at'):
        importlib.import_module(EXTENSION)
    assert log() == ''


def test_an_operator_that_is_not_ours_is_refused_when_it_is_called():
    operator = absent('carafe_forward')
    with pytest.raises(InputError, match=r'operator carafe_forward is not among .*bireal-plugin\[det-compiled\]'):
        operator(1, scale=2)


def test_names_that_python_looks_for_are_no_operators():
    with pytest.raises(AttributeError, match='__path__'):
        absent('__path__')


def test_the_finder_stands_once_behind_that_of_files():
    offer_operators()
    (ours,) = (finder for finder in sys.meta_path if isinstance(finder, OperatorFinder))
    assert sys.meta_path.index(ours) > sys.meta_path.index(PathFinder)
    assert [ours.find_spec(name, None) is not None for name in (EXTENSION, 'mmcv.ops', 'mmcv')] == [True, False, False]
