"""The version of the package, in this one place; ``setup.cfg`` and written files read it here."""

__version__ = '0.1.0'
