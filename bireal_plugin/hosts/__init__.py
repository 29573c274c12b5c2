"""Private interfaces of other packages, one file for each or a few; everything else here uses their public ones.

Each name has a test in ``tests/hosts`` that says what is missing when an upgrade of the package takes it away.
"""
