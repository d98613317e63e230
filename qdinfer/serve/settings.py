"""What a server takes in, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InputError, whole_number

__all__ = ["ServerSettings"]

_DAY = 86_400


@dataclass(frozen=True)
class ServerSettings:
    """Limits of a server. The defaults suit one student on a small machine.

    Attributes:
        deadline: seconds within which a request is answered; one that would wait for over half of them is refused.
        max_texts: texts of one request.
        max_bytes: of one request's body, unpacked.
        max_queue: texts that wait, for each student.
        max_shots: shots a text that a request may ask for.
        token: what clients send as ``Authorization: Bearer TOKEN``; None to ask for none.

    Raises:
        InputError: a limit is out of its range, or the token is empty or not printable ASCII.
    """

    deadline: float = 10.0
    max_texts: int = 1024
    max_bytes: int = 2**20
    max_queue: int = 4096
    max_shots: int = 10_000
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.deadline, bool) or not isinstance(self.deadline, int | float):
            raise InputError(f"deadline: found {self.deadline!r}; expected a number of seconds")
        if not 0 < self.deadline <= _DAY:
            raise InputError(f"deadline: found {self.deadline!r}; expected seconds, more than 0 and at most {_DAY}")
        for name, most in (("max_texts", 2**20), ("max_bytes", 2**30), ("max_queue", 2**24), ("max_shots", 2**24)):
            whole_number(name, getattr(self, name), 1, most)
        if self.token is not None and not _is_token(self.token):
            raise InputError("token: found an empty one, or other letters than printable ASCII; expected those")


def _is_token(value: object) -> bool:
    # A header ends and begins with no space.
    return isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip() != ""
