"""`tf-seq2seq launch`: a training script as several workers of this machine, all started again when one dies."""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from tf_seq2seq.commands.option_types import count, positive
from tf_seq2seq.errors import InputError

HELP = "run a training script as several workers"
USAGE = "tf-seq2seq launch --workers N [option ...] SCRIPT [argument ...]"
DESCRIPTION = """\
Starts a Python script N times on this machine, with a TF_CONFIG that makes the
processes the workers of one tf.distribute.MultiWorkerMirroredStrategy, and
prints what they print, each line after the worker's number.

When a worker dies, the others cannot go on: they are given some seconds to
end by themselves and are ended then. With --restarts all are started again; a
script whose fit has the callback Resume goes on where its last checkpoint is.
"""
EPILOG = """\
example:
  tf-seq2seq launch --workers 4 --restarts 3 train.py --epochs 10

On several machines start the script once on each, with TF_CONFIG set: see
experiments/many_machines.md.
"""
FAILED = 1  # exit code
ADDRESS = "127.0.0.1"
_POLL = 0.1  # seconds


def add_options(parser):
    """Adds this command's options to its parser."""
    parser.add_argument("--workers", type=positive, required=True, metavar="N", help="number of processes")
    parser.add_argument(
        "--restarts", type=count, default=0, metavar="K", help="start all again up to K times (default 0)"
    )
    parser.add_argument(
        "--grace",
        type=count,
        default=10,
        metavar="SECONDS",
        help="how long the others may take to end when a worker has died (default 10)",
    )
    parser.add_argument("script", metavar="SCRIPT", help="a Python script")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="argument", help="what the script is given"
    )


def run(options):
    """Runs the script until all workers have ended well, or the restarts are used up."""
    if not os.path.isfile(options.script):
        raise InputError(f"{options.script} is no file: give a Python script")
    for restart in range(options.restarts + 1):
        with _ended_by_signals(), Workers() as workers:
            workers.start([sys.executable, options.script, *options.arguments], options.workers)
            failure = workers.wait()
            if failure is None:
                return 0
            _tell(f"{failure}; ending the others")
            workers.end(options.grace)
        if restart < options.restarts:
            _tell(f"starting all {options.workers} again ({restart + 1} of {options.restarts})")
    return FAILED


class Workers:
    """The processes of one start; leaving the context kills what is left of them."""

    def __init__(self):
        self.processes, self._printers = [], []

    def start(self, command, count):
        """Starts so many workers of a command, a list of str, and prints what they print."""
        addresses = [f"{ADDRESS}:{port}" for port in free_ports(count)]
        for index in range(count):
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "TF_CONFIG": task(addresses, index)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C comes here first
            )
            self.processes.append(process)
            self._printers.append(
                threading.Thread(target=_print_lines, args=(index, process.stdout), daemon=True)
            )
            self._printers[-1].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        for printer in self._printers:
            printer.join(timeout=1)

    def wait(self):
        """Waits until all have ended well, or one has not.

        Returns:
            None, or what became of the first that failed, str.
        """
        while True:
            codes = [process.poll() for process in self.processes]
            for index, code in enumerate(codes):
                if code:
                    return f"worker {index} {ended(code)}"
            if None not in codes:
                return None
            time.sleep(_POLL)

    def end(self, grace):
        """Lets the others end by themselves for so many seconds, then asks them to, then kills them."""
        for seconds, name in ((grace, signal.SIGTERM), (3, signal.SIGKILL)):
            until = time.monotonic() + seconds
            while time.monotonic() < until and any(process.poll() is None for process in self.processes):
                time.sleep(_POLL)
            self._signal(name)

    def _signal(self, name):
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, name)


def task(addresses, index):
    """TF_CONFIG of one worker.

    >>> task(["a:1", "b:1"], 1)
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'

    Args:
        addresses: list of "host:port", of all workers.
        index: int.

    Returns:
        str, JSON.
    """
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def free_ports(count):
    """So many ports of this machine that nobody listens at.

    >>> len(set(free_ports(3)))
    3
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((ADDRESS, 0))
        return [one.getsockname()[1] for one in sockets]


def ended(code):
    """What an exit code of `subprocess` means.

    >>> ended(3), ended(-9)
    ('ended with exit code 3', 'was killed by SIGKILL')
    """
    return f"ended with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"


@contextlib.contextmanager
def _ended_by_signals():
    """Makes SIGTERM what Ctrl-C is, so that no worker outlives this process."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = (
        signal.signal(signal.SIGTERM, interrupt)
        if threading.current_thread() is threading.main_thread()
        else None
    )
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _print_lines(index, stream):
    for line in stream:
        sys.stdout.write(f"[{index}] {line.decode(errors='replace')}")
        sys.stdout.flush()


def _tell(message):
    print(f"tf-seq2seq launch: {message}", file=sys.stderr, flush=True)
