"""TFLite for Larq Compute Engine (ARM, Android), written without TensorFlow and run in the released interpreter."""
