"""Judging: quantized networks held against the floating-point network, on many frames or on a few."""
