"""ONNX in, ONNX out: read, clean, place and write Q/DQ, count costs."""
