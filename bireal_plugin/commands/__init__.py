"""Command lines, one file per command of ``bireal``: parsing, calling, printing."""
