#!/usr/bin/env python3
"""Campaign pre-filter: a CSV file in, the rows that may be written to out.

    prefilter.py customers.csv permitted.csv --column phone --region TR

The list is streamed, so it may be larger than memory. The output gets its name
only when the whole list is answered: half a file is never found. On any doubt
nothing is written, and the exit code is 1.

An answer holds for the moment it was given. Run this right before sending.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sendgate import Client, FilterStream, Scope, SendgateError

Row = list[str]


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file that gets its name only if nothing failed."""
    # In the same folder, because a rename is one step only within a file system.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def addresses(rows: Iterable[Row], column: int, waiting: deque[Row]) -> Iterator[str]:
    """The addresses, in order; keeps the rows for the answers. A row that is
    too short has an empty address, which is never permitted."""
    for row in rows:
        waiting.append(row)
        yield row[column] if column < len(row) else ""


def permitted_rows(answers: FilterStream, waiting: deque[Row]) -> Iterator[Row]:
    """The rows that may be written to. Ends with an error on any doubt."""
    for answer in answers:
        if answer.error is not None:
            raise answer.error
        for permitted in answer.mask:
            row = waiting.popleft()
            if permitted:
                yield row


def prefilter(client: Client, args: argparse.Namespace) -> tuple[int, int]:
    """Writes the permitted rows; returns how many there were, and of how many."""
    waiting: deque[Row] = deque()
    read = 0
    written = 0
    with open(args.input, encoding="utf-8-sig", newline="") as source:
        rows = csv.reader(source, delimiter=args.delimiter, strict=True)
        header = next(rows, [])
        if header.count(args.column) != 1:
            raise SystemExit(
                f"the header has no column {args.column!r}, or several: {header}"
            )

        def counted() -> Iterator[Row]:
            nonlocal read
            for row in rows:
                read += 1
                yield row

        with (
            whole_file(args.output) as target,
            client.filter(
                addresses(counted(), header.index(args.column), waiting),
                brand=args.brand,
                scope=Scope(args.channel, args.purpose, args.type),
                kind=args.kind,
                region=args.region,
            ) as answers,
        ):
            writer = csv.writer(target, delimiter=args.delimiter, lineterminator="\n")
            writer.writerow(header)
            for row in permitted_rows(answers, waiting):
                writer.writerow(row)
                written += 1
            # The stream has checked that every recipient has an answer; this
            # checks that no row got lost on our side.
            if waiting:
                raise RuntimeError(f"{len(waiting)} rows have no answer")
    return written, read


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Keeps the rows of a CSV that may be written to."
    )
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--column", required=True, help="the column with the addresses")
    parser.add_argument(
        "--kind", default="phone", help="phone, email, contact_id or external_id"
    )
    parser.add_argument(
        "--region", default="", help="region of national phone spellings, such as TR"
    )
    parser.add_argument("--brand", default="main")
    parser.add_argument("--channel", default="sms")
    parser.add_argument("--purpose", default="marketing")
    parser.add_argument("--type", default="individual", help="individual or merchant")
    parser.add_argument("--delimiter", default=",")
    parser.add_argument(
        "--target", help="the server; by default what SENDGATE_ENDPOINT says"
    )
    args = parser.parse_args()
    if args.output.exists() and os.path.samefile(args.input, args.output):
        parser.error("the output would replace the input")
    try:
        with Client(args.target) as client:
            written, read = prefilter(client, args)
    except (SendgateError, OSError, ValueError, csv.Error, RuntimeError) as error:
        print(f"prefilter: nothing was written: {error}", file=sys.stderr)
        return 1
    print(f"{written} of {read} permitted", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
