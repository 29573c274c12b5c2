"""Packages that one engine alone needs: asked for when that engine is used, never when this package is imported."""

from __future__ import annotations

from importlib.util import find_spec

from bireal_plugin.errors import InputError


def require(*packages: str, engine: str) -> None:
    """Check that ``packages`` are installed; the extra that installs them has the engine's name.

    Raises:
        InputError: one is not.
    """
    for package in packages:
        if find_spec(package) is None:
            raise InputError(f"the {engine} engine needs the package {package}: pip install 'bireal-plugin[{engine}]'")
