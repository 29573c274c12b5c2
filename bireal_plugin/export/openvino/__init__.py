"""OpenVINO, the fast path on x86: 1-bit convolutions run by XNOR + popcount."""

from bireal_plugin.export.openvino.engine import OpenVINOSession, convert, export_openvino

__all__ = ['OpenVINOSession', 'convert', 'export_openvino']
