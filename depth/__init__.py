"""Monocular depth on a 1-bit backbone: KITTI data, losses, head, metrics and commands."""
