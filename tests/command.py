"""The command, called in this process."""

from __future__ import annotations

import pytest

from qdinfer.cli import main


class Run:
    """One call of the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object, code: int = 0) -> tuple[str, str]:
        try:
            found = main([str(word) for word in words])
        except SystemExit as end:
            found = int(end.code or 0)
        captured = self._capsys.readouterr()
        assert found == code, captured.err
        return captured.out, captured.err

    def error(self, *words: object, code: int = 2) -> str:
        """The one line that is printed, after the command's name."""
        out, err = self(*words, code=code)
        assert out == ""
        assert err.startswith("qdinfer: error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err.removeprefix("qdinfer: error: ").removesuffix("\n")
