"""From a trained network to files that run: fold, pack, and one file per target engine."""
