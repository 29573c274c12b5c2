"""Bi-Real-18, half as wide, with a light U-Net decoder, on rendered streets: real, then binary."""

_base_ = '_base_/street.py'
