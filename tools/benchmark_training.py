"""Runs ``bireal benchmark-training`` from a checkout."""

from bireal import run

if __name__ == '__main__':
    run('benchmark-training')
