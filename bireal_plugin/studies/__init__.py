"""Studies behind the documentation: the ablation of Table 1, the paper's figures, and speed.

The drawing files need matplotlib (the extra ``plot``) and are imported by the commands that draw, not from here.
"""
