"""Reading data in pieces: CSV with the standard library, Parquet with pyarrow where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

PIECE = 50_000
Columns = dict[str, list[Any]]


def pieces(path: Path, columns: Sequence[str], size: int = PIECE) -> Iterator[Columns]:
    """Yield so many rows at a time, as column name to values; what the file lacks of `columns` is left out.

    Values of a CSV are texts, and an empty one is a missing value. Memory does not grow with the file.

    Raises:
        ValueError: The file is neither .csv nor .parquet, or a row of a CSV is too short or too long.
        ModuleNotFoundError: It is .parquet and pyarrow is not installed.
    """
    if path.suffix == ".csv":
        yield from _csv_pieces(path, columns, size)
    elif path.suffix == ".parquet":
        yield from _parquet_pieces(path, columns, size)
    else:
        message = f"{path} is neither .csv nor .parquet"
        raise ValueError(message)


def find(folder: Path, stem: str) -> Path:
    """Return the one file `stem` in a folder, .csv or .parquet.

    Raises:
        FileNotFoundError: There is neither.
    """
    for suffix in (".csv", ".parquet"):
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    message = f"{folder} holds neither {stem}.csv nor {stem}.parquet"
    raise FileNotFoundError(message)


def write_csv(path: Path, columns: Sequence[str], rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> None:
    """Write rows below a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _csv_pieces(path: Path, columns: Sequence[str], size: int) -> Iterator[Columns]:
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        places = {name: header.index(name) for name in columns if name in header}
        while rows := list(islice(reader, size)):
            for row in rows:
                if len(row) != len(header):
                    message = f"{path}, line {reader.line_num} or before: {len(row)} values under {len(header)} names"
                    raise ValueError(message)
            yield {name: [row[place] for row in rows] for name, place in places.items()}


def _parquet_pieces(path: Path, columns: Sequence[str], size: int) -> Iterator[Columns]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    names = [name for name in columns if name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=size, columns=names):
        yield batch.to_pydict()
