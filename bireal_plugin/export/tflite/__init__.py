"""TFLite for Larq Compute Engine (ARM, Android), written without TensorFlow and run in the released interpreter."""

from bireal_plugin.export.tflite.engine import TFLiteSession, convert, export_tflite

__all__ = ['TFLiteSession', 'convert', 'export_tflite']
