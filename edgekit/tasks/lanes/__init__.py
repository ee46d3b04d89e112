"""Lane lines: one module a model family, and how well two sets of lanes agree."""
