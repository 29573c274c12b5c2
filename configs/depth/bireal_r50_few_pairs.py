"""Bi-Real-50 on a handful of pairs: real, then binary."""

_base_ = '_base_/few_pairs_recipe.py'
