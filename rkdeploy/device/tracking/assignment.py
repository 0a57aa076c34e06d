"""Exact assignment of rows to columns: each in one pair at most, the sum of the pairs' gains as large as possible.

This is what `lap.lapjv(cost, extend_cost=True, cost_limit=limit)` gives ByteTrack, with limit - cost as the gain.  A
pair without a gain is never made, so that the problem falls into parts without a common row or column.  In tracking
nearly all of them are single pairs; the others are solved by shortest augmenting paths (Jonker and Volgenant 1987).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_pairs(gains: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pairs, (K,) each, by row.

    Args:
        gains: (R, C) float64; what is not above 0 is not paired.
    """
    rows, columns = (gains > 0).nonzero()
    if not len(rows):
        return rows, columns
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows, columns
    pairs = list(zip(rows[alone].tolist(), columns[alone].tolist(), strict=True))
    crowded = ~alone
    for part_rows, part_columns in _parts(rows[crowded].tolist(), columns[crowded].tolist()):
        part = gains[np.ix_(part_rows, part_columns)]
        pairs += [(part_rows[row], part_columns[column]) for row, column in _solved(np.maximum(part, 0.0))]
    pairs.sort()
    paired = np.array(pairs, np.intp)
    return paired[:, 0], paired[:, 1]


def _parts(rows: list[int], columns: list[int]) -> list[tuple[list[int], list[int]]]:
    """The connected parts of a graph that is given by its edges: rows and columns of each, sorted."""
    of_row: dict[int, list[int]] = {}
    of_column: dict[int, list[int]] = {}
    for row, column in zip(rows, columns, strict=True):
        of_row.setdefault(row, []).append(column)
        of_column.setdefault(column, []).append(row)
    parts = []
    left = set(of_row)
    for first in of_row:
        if first not in left:
            continue
        left.discard(first)
        part_rows, part_columns, open_rows = [first], set[int](), [first]
        while open_rows:
            for column in of_row[open_rows.pop()]:
                if column in part_columns:
                    continue
                part_columns.add(column)
                found = [row for row in of_column[column] if row in left]
                left.difference_update(found)
                part_rows += found
                open_rows += found
        parts.append((sorted(part_rows), sorted(part_columns)))
    return parts


def _solved(gains: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs of a part with a gain above 0; gains are 0 or more."""
    if gains.shape[0] > gains.shape[1]:
        return [(row, column) for column, row in _solved(gains.T)]
    owners = _owners(-gains)
    pairs = ((owners[column], column) for column in range(len(owners)) if owners[column] >= 0)
    return [(row, column) for row, column in pairs if gains[row, column] > 0]


def _owners(cost: NDArray[np.float64]) -> list[int]:
    """The row of each column in an assignment of all rows with the least cost, -1 for columns that are left.

    Args:
        cost: (R, C) float64, no more rows than columns.
    """
    row_count, column_count = cost.shape
    of_rows, of_columns = np.zeros(row_count), np.zeros(column_count)  # dual variables
    owners = [-1] * column_count
    for start in range(row_count):
        distances, before = np.full(column_count, np.inf), np.full(column_count, -1)
        unscanned = np.ones(column_count, np.bool_)
        scanned: list[int] = []
        row, column, reached = start, -1, 0.0
        while row >= 0:
            through = reached + cost[row] - of_rows[row] - of_columns
            shorter = unscanned & (through < distances)
            distances[shorter], before[shorter] = through[shorter], column
            column = int(np.where(unscanned, distances, np.inf).argmin())
            reached = float(distances[column])
            unscanned[column] = False
            scanned.append(column)
            row = owners[column]
        of_rows[start] += reached
        for passed in scanned[:-1]:
            of_rows[owners[passed]] += reached - distances[passed]
            of_columns[passed] -= reached - distances[passed]
        while column >= 0:
            previous = int(before[column])
            owners[column] = owners[previous] if previous >= 0 else start
            column = previous
    return owners
