"""A user of the endpoint: the real client, in a process of its own, for it reads its settings once."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import qdinfer
from hub_endpoint.server import Endpoint

ROOT = Path(__file__).parents[2]
_OURS = ("numpy", "onnxruntime", "tokenizers", "tqdm.auto", "qdinfer.cli", "qdinfer.verification")
_ITS = ("httpx2", "httpcore2", "truststore", "httpx", "httpcore", "yaml", "filelock")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([*_OURS, *_ITS])  # all but the client: importing takes longer than what is tested


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int | None
    out: str
    err: str

    def failed(self, code: int, *said: str) -> bool:
        """Whether it ended with this code, said all this in one line on stderr, and never showed a secret."""
        assert self.code == code, self
        assert self.out == ""
        line = self.err.strip().splitlines()[-1]
        assert line.startswith(("qdinfer: error: ", "qdistill: error: ")), self.err
        assert "Traceback" not in self.err
        assert all(part in line for part in said), line
        assert not re.search(r"hf_[A-Za-z]{8}|signature", self.err), "a secret"
        return True


class Client:
    """Runs Python with the environment of a user of the endpoint, and a cache of its own.

    Attributes:
        endpoint: the Hub.
        home: of the cache and the login.
        environment: all of it.
    """

    def __init__(self, endpoint: Endpoint, home: Path) -> None:
        self.endpoint, self.home = endpoint, home
        outside = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self.environment = {**outside, **endpoint.environment(home), "PYTHONPATH": str(ROOT)}

    def python(self, code: str, *arguments: str, **environment: str) -> Done:
        """Run some Python. Its warnings are errors."""
        with TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            environment = {**self.environment, **environment}
            with patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):  # where it imports from, once it runs
                forkserver.ensure_running()
            process = _FORKS.Process(target=_run, args=(code, arguments, environment, str(out), str(err)))
            process.start()
            process.join(60)
            process.kill()  # if it hangs
            process.join()
            done = Done(process.exitcode, out.read_text(), err.read_text())
            process.close()
            return done

    def qdinfer(self, *arguments: str, **environment: str) -> Done:
        """Run ``qdinfer``."""
        return self.python("from qdinfer.cli import main; sys.exit(main())", *arguments, **environment)

    def qdistill(self, *arguments: str, **environment: str) -> Done:
        """Run ``qdistill``, logged in."""
        environment = {"HF_TOKEN": self.endpoint.token, **environment}
        return self.python("from qdistill.cli import main; sys.exit(main())", *arguments, **environment)


def _run(code: str, arguments: Sequence[str], environment: dict[str, str], out: str, err: str) -> None:
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)  # between the client and its HTTP library
    assert "huggingface_hub" not in sys.modules
    assert Path(qdinfer.__file__).is_relative_to(ROOT)
    exec(code, {"__name__": "__main__", "sys": sys})
