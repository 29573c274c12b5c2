"""ONNX for every runtime (``engine.py``), and QONNX for FPGA tool flows (``qonnx.py``)."""
