"""Convolution, sign and inputs spelled out in numpy, for tests that recompute a paper's equations."""

import numpy as np


def pair(value):
    return (value, value) if isinstance(value, int) else value


def conv2d(x, w, *, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of ``(N, C, H, W)`` with ``(O, C/g, kH, kW)``, true zero padding, in float64."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    kh, kw = w.shape[2:]
    rows = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    columns = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((len(x), len(w), rows, columns))
    c, o = w.shape[1], len(w) // groups
    for g in range(groups):
        for i in range(kh):
            for j in range(kw):
                patch = x[:, g * c : (g + 1) * c, i * dh :: sh, j * dw :: sw][:, :, :rows, :columns]
                out[:, g * o : (g + 1) * o] += np.einsum('ncyx,oc->noyx', patch, w[g * o : (g + 1) * o, :, i, j])
    return out


def sign(x):
    return np.where(x < 0, -1.0, 1.0)


def with_zeros(generator, *shape):
    """Normal numbers of which a tenth are exactly 0.0 or -0.0."""
    x = generator.standard_normal(shape)
    x[np.abs(x) < 0.1] = 0.0
    x.reshape(-1)[::17] = -0.0
    return x
