"""One-to-one assignment of the greatest total gain (the Hungarian method).

SciPy has it too, but what runs on the board, `edgekit verify` included, does without SciPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of their gains is greatest.

    Args:
        gain: (rows, columns), finite.

    Returns:
        min(rows, columns) pairs (row, column), sorted; no row and no column twice.

    Source: shortest augmenting paths with potentials, Jonker and Volgenant, Computing 38 (1987), O(rows^2 columns).
    """
    if gain.shape[0] > gain.shape[1]:
        return sorted((row, column) for column, row in assign(gain.T))
    rows, columns = gain.shape
    row_potential = np.zeros(rows)
    column_potential = np.zeros(columns)
    row_of = np.full(columns, -1)
    for row in range(rows):
        distance = np.full(columns, np.inf)
        came_from = np.full(columns, -1)
        visited = np.zeros(columns, bool)
        length, current, column = 0.0, row, -1
        while True:
            through = length - gain[current] - row_potential[current] - column_potential
            shorter = ~visited & (through < distance)
            distance[shorter] = through[shorter]
            came_from[shorter] = column
            column = int(np.where(visited, np.inf, distance).argmin())
            length = float(distance[column])
            visited[column] = True
            if row_of[column] < 0:
                break
            current = int(row_of[column])
        row_potential[row] += length
        row_potential[row_of[visited & (row_of >= 0)]] += length - distance[visited & (row_of >= 0)]
        column_potential[visited] -= length - distance[visited]
        while column >= 0:
            before = int(came_from[column])
            row_of[column] = row if before < 0 else row_of[before]
            column = before
    return sorted((int(row), column) for column, row in enumerate(row_of) if row >= 0)
