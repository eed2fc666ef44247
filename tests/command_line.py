"""Runs the command line inside the test's process."""

from sdesam.cli import app


def call(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = 0
    try:
        app.main(list(arguments))
    except SystemExit as leave:
        code = leave.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err
