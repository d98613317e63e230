"""``python -m qdistill.compare.worker JOB CONTENDER RESULT``: one training, in a process of its own."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from qdinfer.errors import QdinferError, TruncationWarning

from .contenders import CONTENDERS
from .job import Job
from .measurement import measure

__all__ = ["main"]


def main(job_file: str, contender: str, result_file: str) -> int:
    """Read the job, train and measure, write the result; give the exit code."""
    job = Job.model_validate_json(Path(job_file).read_bytes())
    warnings.simplefilter("ignore", TruncationWarning)  # how many tokens each reads is a setting
    try:
        result = measure(contender, CONTENDERS[contender], job.task(), job.test_texts())
    except (QdinferError, OSError) as error:
        print(f"{contender}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    Path(result_file).write_text(result.model_dump_json(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
