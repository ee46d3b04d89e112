"""Ranges: what values activations take over frames, and which part of them a grid covers."""
