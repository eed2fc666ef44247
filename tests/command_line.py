"""Runs the command line inside the test's process."""

import pytest

from sdesam.cli import app
from sdesam.engine import progress


def call(capsys, *arguments):
    """Exit code, stdout, stderr; a slow machine does not make it say that it is at work."""
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_FIRST", 600.0)
        try:
            app.main(list(arguments))
        except SystemExit as leave:
            code = leave.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err
