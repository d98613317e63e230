"""Label the csv files of a folder, each once: a job for cron.

For every INBOX/NAME.csv there is an OUTBOX/NAME.csv in the end, whole or not at all, with the columns of the input,
`prediction` and `probability`. A file is labelled again only if it, the student or the column has changed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qdinfer import ArtifactError, Classifier, InputError, QdinferError

log = logging.getLogger("label_folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Label what is new. The exit code is 0, 1 if something failed, or 2 if some input was bad; the rest is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", help="a student's folder or .zip")
    parser.add_argument("inbox", type=Path, help="folder of csv files")
    parser.add_argument("outbox", type=Path, help="folder to write to, another one; made if it is not there")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of texts (default: text)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # an exception, so that half-written files go
    try:
        sources = csv_files(arguments.inbox, arguments.outbox)
        classifier = Classifier.load(arguments.student)
        arguments.outbox.mkdir(parents=True, exist_ok=True)
    except (InputError, ArtifactError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    except (QdinferError, OSError) as error:
        log.error("%s", error)
        return 1
    return label_all(classifier, sources, arguments.outbox, arguments.text_column)


def csv_files(inbox: Path, outbox: Path) -> list[Path]:
    """The files to be labelled, hidden ones left out."""
    if not inbox.is_dir():
        raise InputError(f"{inbox}: found no folder; expected one with csv files")
    if inbox.resolve() == outbox.resolve():
        raise InputError(f"{outbox}: found the folder of the input; expected another one")
    return sorted(path for path in inbox.glob("*.csv") if not path.name.startswith("."))


def label_all(classifier: Classifier, sources: Sequence[Path], outbox: Path, column: str) -> int:
    """Label each file that is not done; one that cannot be is logged, and the others go on."""
    done = bad = failed = 0
    for source in sources:
        target, mark = outbox / source.name, outbox / f".{source.name}.done"
        try:
            key = f"{sha256(source)} {classifier.artifact.sha256} {column}\n"
            if target.exists() and mark.exists() and mark.read_text("utf-8") == key:
                done += 1
                continue
            start = time.monotonic()
            texts = label_file(classifier, source, target, column)
            with replacing(mark) as file:  # last: if this process ends before, the file is labelled once more
                file.write(key)
            log.info("%s: %d texts in %.1f s", target, texts, time.monotonic() - start)
        except (InputError, UnicodeDecodeError, csv.Error) as error:
            log.error("%s: %s", source, error)
            bad += 1
        except (QdinferError, OSError) as error:
            log.error("%s: %s", source, error)
            failed += 1
    log.info("%d files, %d of them done before, %d bad, %d failed", len(sources), done, bad, failed)
    return 1 if failed else 2 if bad else 0


def label_file(classifier: Classifier, source: Path, target: Path, column: str) -> int:
    """Label one file, in bounded memory, and say how many texts it had."""
    count = 0
    waiting: deque[list[str]] = deque()  # rows whose prediction is yet to come
    with source.open(encoding="utf-8-sig", newline="") as file, replacing(target) as output:
        reader = csv.reader(file, strict=True)
        columns = next(reader, [])
        if columns.count(column) != 1:
            raise InputError(f"found columns {columns}; expected {column!r} among them, once")
        place = columns.index(column)
        writer = csv.writer(output)
        writer.writerow([*columns, "prediction", "probability"])

        def texts() -> Iterator[str]:
            for row in reader:
                if len(row) != len(columns):
                    raise InputError(f"line {reader.line_num}: found {len(row)} cells; expected {len(columns)}")
                waiting.append(row)
                yield row[place]

        for part in classifier.stream(texts()):
            for prediction in part:
                probability = f"{prediction.probabilities[prediction.label]:.4f}"
                writer.writerow([*waiting.popleft(), prediction.label, probability])
            count += len(part)
    return count


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A file to write to that takes the path's place when the block ends well, and is gone if not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # two runs at a time may not share it
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
