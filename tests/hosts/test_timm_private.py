"""What is asked of timm's private interface. A failure here means: mend bireal_plugin/hosts/timm_private.py."""

import importlib

import pytest

MEND = 'this timm lacks it or does something else; mend bireal_plugin/hosts/timm_private.py'


def test_features_are_counted_from_the_end_or_named():
    try:
        private = importlib.import_module('bireal_plugin.hosts.timm_private')
    except ImportError as error:
        pytest.fail(f'{error}: {MEND}')
    assert private.feature_take_indices(5, 2) == ([3, 4], 4), MEND
    assert private.feature_take_indices(5, [0, 2]) == ([0, 2], 2), MEND
