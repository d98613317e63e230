"""``python -m qdistill.compare.worker JOB CONTENDER DATA RESULT``: one training, in a process of its own."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from qdinfer.errors import InputError, QdinferError, TruncationWarning

from .contenders import CONTENDERS
from .job import Job
from .measurement import measure, texts_digest

__all__ = ["main"]


def main(job_file: str, contender: str, data: str, result_file: str) -> int:
    """Read the job, train and measure, write the result.

    Returns:
        0; 1 for a failure, 2 for bad input, 130 if it was interrupted; what it was is on standard error.
    """
    job = Job.model_validate_json(Path(job_file).read_bytes())
    warnings.simplefilter("ignore", TruncationWarning)  # how many tokens each reads is a setting
    try:
        task, test = job.task(), job.test_texts()
        if texts_digest(task.labelled, test) != data:
            raise InputError(f"{job.train} or {job.test}: found other texts than at the start; expected the same")
        result = measure(contender, CONTENDERS[contender], task, test)
    except KeyboardInterrupt:
        return 130
    except (QdinferError, OSError) as error:
        print(f"{contender}: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, InputError) else 1
    Path(result_file).write_text(result.model_dump_json(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
