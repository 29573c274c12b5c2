"""Bi-Real-18, half as wide, with a light U-Net decoder, on some hundred real pairs: real, then binary."""

_base_ = '_base_/roads.py'
