"""Reconstruction: a quantized network in torch, whose rounding, scales and biases are learned."""
