"""What people look at: lanes drawn on frames."""

from __future__ import annotations

from edgekit.report.overlay import draw_comparison, draw_scene

__all__ = ["draw_comparison", "draw_scene"]
