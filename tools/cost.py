"""Runs ``bireal cost`` from a checkout."""

from bireal import run

if __name__ == '__main__':
    run('cost')
