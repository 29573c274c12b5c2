"""Weights in files, ours and those of others: safe reading, layouts of names, loading with a report, init_cfg."""
