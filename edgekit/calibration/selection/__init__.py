"""Sensitivity Aware Selection: what distorts when it is quantized, and what stays in higher precision."""
