"""Placement that pays: measured in the target's own engine, what 8 bit makes slower stays in floating point."""
