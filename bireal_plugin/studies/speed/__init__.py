"""Measurements that put both sides of a claim into one process and print their ratio."""
