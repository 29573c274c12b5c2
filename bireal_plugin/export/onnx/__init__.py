"""ONNX for every runtime (``engine.py``), and QONNX for FPGA tool flows (``qonnx.py``)."""

from bireal_plugin.export.onnx.engine import ONNXSession, export_onnx

__all__ = ['ONNXSession', 'export_onnx']
