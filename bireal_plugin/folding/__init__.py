"""From a trained network to ±1 weights and one affine map per channel: absorbing scales, folding, the operator."""
