"""Label a table of texts on Ray: parquet or csv in, a folder of parquet files out."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from qdinfer import InputError, QdinferError

READERS = {".csv": "read_csv", ".parquet": "read_parquet"}
STUDENT = Path(__file__).parents[2] / "exported_models" / "topic-folded"


def main() -> int:
    """Run the job.

    Returns:
        0, or 2 if what was asked for cannot be done.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="a .csv or .parquet with a column of texts")
    parser.add_argument("output", type=Path, help="a folder that is not there yet")
    parser.add_argument("--student", type=Path, default=STUDENT, help=f"(default: {STUDENT.name})")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="(default: text)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="the most there may be (default: 2)")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except (QdinferError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> None:
    import ray
    import ray.data

    from qdinfer.integrations.ray import classify_dataset

    table, output = arguments.table.absolute(), arguments.output.absolute()  # workers may run in another folder
    if not table.exists() or table.suffix not in READERS:
        raise InputError(f"{table}: found no such table; expected one of {', '.join(READERS)}")
    if output.exists():
        raise FileExistsError(f"{output}: found something there; expected another folder, since Ray would add to it")
    # The cluster that RAY_ADDRESS or `ray job submit` names; or one on this machine, with a CPU to read with.
    ray.init(**({} if "RAY_ADDRESS" in os.environ else {"num_cpus": arguments.workers + 1}))
    read = getattr(ray.data, READERS[table.suffix])
    labelled = classify_dataset(
        read(str(table)),
        arguments.student,
        text_column=arguments.text_column,
        proba=True,
        workers=arguments.workers,
    )
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as unfinished:
        labelled.write_parquet(f"{unfinished}/rows", min_rows_per_file=100_000)
        Path(unfinished, "rows").rename(output)  # so that the folder has all rows or is not there
    print(output)


if __name__ == "__main__":
    sys.exit(main())
