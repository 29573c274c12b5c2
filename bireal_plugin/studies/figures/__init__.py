"""The drawing functions. Each takes numbers, gives a matplotlib figure or writes it, and computes nothing else."""
