"""Looking at what training did: the grid of Table 1, its order, and the paper's pictures. The training is elsewhere.

``figures`` needs matplotlib (the extra ``plot``) and is imported by the commands that draw, not from here.
"""
