"""The `tf-seq2seq` command: its subcommands, and what becomes of errors.

Nothing here or in `tf_seq2seq.commands` imports TensorFlow before a subcommand runs: `--help` is instant.
"""

import argparse
import contextlib
import os
import sys

import tf_seq2seq
from tf_seq2seq.commands import data, evaluate, export, generate, launch, score, serve
from tf_seq2seq.errors import InputError

COMMANDS = (generate, evaluate, score, export, serve, data, launch)
FAULT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # exit codes; the last two are those of a shell
_DESCRIPTION = """\
Uses sequence-to-sequence models that were trained with tf_seq2seq and saved
with TextGenerator.save. Training is a Python script on purpose: see
experiments/translate_tatoeba.py.
"""
_EPILOG = """\
"tf-seq2seq COMMAND --help" tells what a command does, with an example.
Exit code: 0 when all went well; 1 when --self-check found a difference; 2 when
something given is unusable (one line on standard error says what to do); 130
after Ctrl-C.
"""


def main(arguments=None):
    """Runs the command.

    Args:
        arguments: list of str; by default those of the process.

    Returns:
        exit code, int. Wrong options end the process with code 2, as `argparse` does it.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return FAULT
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale: models write any language
    try:
        code = options.run(options)
        sys.stdout.flush()
    except Exception as error:
        return _ended(error)
    except KeyboardInterrupt as error:
        return _ended(error)
    return code or 0


def _ended(error):
    """Says on one line what went wrong; what is not the user's to mend comes with its traceback."""
    _flush_or_forget()
    code, message = _told(error)
    if message:
        print(f"tf-seq2seq: {' '.join(message.split())}", file=sys.stderr)
    return code


def _told(error):
    """Exit code and message of an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE, ""
    if isinstance(error, InputError):
        return FAULT, str(error)
    if isinstance(error, OSError):
        return FAULT, f"{error.filename or 'cannot write the output'}: {error.strerror or error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return FAULT, "out of memory: give a smaller --batch-size, or break up very long lines"
    raise error


def _flush_or_forget():
    """What cannot be written now is not tried again when Python exits, which would be a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(FAULT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser():
    parser = _Parser(
        prog="tf-seq2seq",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {tf_seq2seq.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        one = commands.add_parser(
            command.__name__.rpartition(".")[2],
            help=command.HELP,
            usage=command.USAGE,
            description=command.DESCRIPTION,
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_options(one)
        one.set_defaults(run=command.run)
    return parser
