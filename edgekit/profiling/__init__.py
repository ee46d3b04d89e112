"""Measuring: when a model runs, how its durations are summed up, what memory it takes, and on what machine."""
