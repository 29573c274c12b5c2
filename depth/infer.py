"""Runs ``bireal depth infer`` from a checkout."""

from bireal import run

if __name__ == '__main__':
    run('depth infer')
