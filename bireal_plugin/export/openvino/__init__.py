"""OpenVINO, the fast path on x86: 1-bit convolutions run by XNOR + popcount."""
