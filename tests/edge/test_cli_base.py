from __future__ import annotations

import pytest

from edge.cli.base import run
from edge.errors import CheckFailed, InputError, MissingError, UsageError


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError, 2), (InputError, 3), (CheckFailed, 4), (MissingError, 5), (KeyboardInterrupt, 130)]
)
def test_each_error_has_its_exit_code_and_one_line(error, code: int, capsys) -> None:
    def command() -> None:
        raise error() if error is KeyboardInterrupt else error("what", "why", "fix")

    assert run(command, []) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_a_wrong_option_is_a_usage_error(capsys) -> None:
    def command(number: int) -> None:
        print(number)

    assert run(command, ["many"]) == 2
    assert "valid integer" in capsys.readouterr().err
    assert run(command, ["3"]) == 0


def test_our_own_bugs_keep_their_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(command, [])
