"""Trying again what may go well the next time."""

import random
import time

from tf_seq2seq.serving.errors import Busy, Unreachable

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0  # seconds


def retrying(call, retries):
    """Calls until it goes well.

    Before try n a wait that is drawn evenly from half of w to w, so that clients that failed together do not come
    back together::

        w = min(10, 0.2 * 2 ** (n - 1)) seconds

    >>> retrying(lambda: "answer", retries=0)
    'answer'

    Args:
        call: function without arguments.
        retries: int, how often it is called again after `Unreachable` or `Busy`. What was asked may have been computed
            before the connection broke; asking again changes nothing, as a model keeps nothing of a request.

    Returns:
        what `call` returns.

    Raises:
        ServingError: of the last try; errors of other kinds at once.
    """
    for attempt in range(retries):
        try:
            return call()
        except (Unreachable, Busy):
            time.sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0))
    return call()
