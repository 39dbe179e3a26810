"""What is said when a worker of a `tf.distribute` strategy is gone."""

import contextlib
import re

import tensorflow as tf


@contextlib.contextmanager
def lost_workers_told():
    """Turns TensorFlow's account of a collective operation that ended without a peer into what to do about it.

    >>> with lost_workers_told():
    ...     raise tf.errors.UnavailableError(
    ...         None, None, "Collective ops is aborted by: Socket closed\\nfrom target /job:worker/replica:0/task:3"
    ...     )
    Traceback (most recent call last):
    RuntimeError: worker 3 is gone (Socket closed) and the others cannot go on without it: start all of them again; ...

    Raises:
        RuntimeError: in place of that error; any other one is as it was.
    """
    try:
        yield
    except tf.errors.OpError as error:
        told = re.search(r"Collective ops is aborted by: (.*)", str(error))
        if told is None:
            raise
        task = re.search(r"/job:(\w+)/replica:\d+/task:(\d+)", str(error)[told.start() :])
        who = " ".join(task.groups()) if task else "a worker"
        raise RuntimeError(
            f"{who} is gone ({told[1].strip()}) and the others cannot go on without it: start all of them again; "
            "with the callback Resume they go on from the last checkpoint"
        ) from error
