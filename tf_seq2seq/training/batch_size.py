"""The largest batch that fits into memory, found by trying the worst batches that the data hold.

Shapes: **B** batch, **S** source length, **T** target length.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from tf_seq2seq.data.position import positions
from tf_seq2seq.errors import InputError
from tf_seq2seq.training.memory import training_memory

ORDINARY = 32  # batches
_FINENESS = 16  # the search ends when what fits and what does not are within 1/16 of one another


class BatchSize(NamedTuple):
    """What `largest_batch` found.

    >>> str(BatchSize(512, 900.0, 1000.0, ((30, 12, 17),), {512: 900.0, 1024: math.inf}))
    'size 512 takes 900 MiB of 1000; 1024 does not fit; the largest batch (B, S, T) is (30, 12, 17)'

    Fields:
        size: the largest size that was tried and fits; 0 if none does.
        peak_mib: the most memory that training on the worst batches of that size took.
        memory_mib: the most that it may take; inf if there is no limit.
        shapes: (B, S, T) of the worst batches of that size.
        tried: peak of each size, MiB; inf where memory was used up, or not tried as it would have been.
    """

    size: int
    peak_mib: float
    memory_mib: float
    shapes: tuple
    tried: dict

    def __str__(self):
        refused = [size for size, peak in self.tried.items() if peak > self.memory_mib or peak == math.inf]
        more = f"{min(refused)} does not fit" if refused else "a larger one makes the same batches"
        if not self.size:
            return f"no size fits into {self.memory_mib:.0f} MiB: {more}"
        limit = "" if self.memory_mib == math.inf else f" of {self.memory_mib:.0f}"
        largest = f"the largest batch (B, S, T) is {self.shapes[0]}"
        return f"size {self.size} takes {self.peak_mib:.0f} MiB{limit}; {more}; {largest}"


def largest_batch(model, make_batches, memory_mib=None, smallest=1, largest=2**20):
    """The largest batch size with which the model can train on some data, whatever batch comes.

    Out-of-memory comes late, with the one batch of the longest sentences. So for each size the data are gone through
    once, and the worst of their batches are trained on: those with the most source tokens, target tokens, both, and
    pairs of them (what attention is made of), before and after some ordinary ones, as many shapes leave memory in
    pieces. Sizes are doubled until one does not fit, then the interval is halved. The model, its optimizer, its random
    states and the position in the data are afterwards what they were.

    A GPU says when its memory is used up. On a CPU the kernel ends a process instead, so each size is tried in a
    process of its own, and only if the line through the two sizes before says that it fits. What counts is the
    resident memory of a process that does nothing but train: what yours holds besides, such as a cached corpus, comes on
    top (with 3,000 captions, 1,531 MiB were found, and two epochs of training took 1,573). A size takes the time of
    about 40 steps and of starting TensorFlow.

    ::

        make = lambda size: batches(pairs.train.take(100_000), source, target, batch_tokens=size)
        found = largest_batch(model, make, memory_mib=8000, smallest=1000)
        print(found)

    Args:
        model: a compiled `Seq2Seq`; without a GPU one that Keras can save and load.
        make_batches: function of a size, in pairs or tokens as it sees fit, to the batches that `fit` would be given.
        memory_mib: the most memory, in MiB, that training may take; may be left out with a GPU.
        smallest: the size to begin with.
        largest: no more is tried.

    Returns:
        `BatchSize`.

    Raises:
        InputError: if `memory_mib` is left out on a CPU, the model is not compiled or cannot be loaded, or there are no
            batches.
    """
    if getattr(model, "optimizer", None) is None:
        raise InputError("compile the model first: its optimizer's slots take memory as well")
    if memory_mib is None and not tf.config.list_physical_devices("GPU"):
        raise InputError("on a CPU nothing tells when memory ends: say memory_mib, what training may take")
    limit = math.inf if memory_mib is None else float(memory_mib)
    tried, shapes = {}, {}
    with training_memory(model) as peak:
        size, low, high = smallest, 0, None
        while size > low:
            batches = make_batches(size)
            worst = _worst(batches)
            shapes[size] = tuple(_shape(batch) for batch in worst)
            if low and shapes[size] == shapes[low]:
                break  # the data have no more
            fits = _expected(tried, size) <= limit
            data = [*worst, *_some(batches, ORDINARY), *worst]
            tried[size] = peak(data, batches.element_spec) if fits else math.inf
            low, high = (size, high) if tried[size] <= limit and tried[size] < math.inf else (low, size)
            size = _next(low, high, largest)
    return BatchSize(low, tried.get(low, 0.0), limit, shapes.get(low, ()), tried)


def _next(low, high, largest):
    """The size to try after; `low` itself to end."""
    if high is None:
        return min(2 * low, largest)
    return low + (high - low) // 2 if low and high - low > max(1, low // _FINENESS) else low


def _some(batches, count):
    """The first batches of a dataset, which does not count as a pass over it."""
    places = [(position, position.epoch) for position in positions(batches)]
    found = [*batches.take(count)]
    for position, epoch in places:
        position.epoch = epoch
    return found


def _expected(tried, size):
    """Memory that a size is expected to take: on the line through the two largest sizes that fitted, MiB."""
    known = sorted((one, peak) for one, peak in tried.items() if peak < math.inf)[-2:]
    if len(known) < 2:
        return 0.0
    (less, lower), (more, upper) = known
    return upper + max(upper - lower, 0.0) * (size - more) / (more - less)


def _worst(batches):
    """The batches that may take the most memory, the largest first."""
    costs = {
        "both": lambda rows, source, target: rows * (source + target),
        "source": lambda rows, source, target: rows * source,
        "target": lambda rows, source, target: rows * target,
        "pairs": lambda rows, source, target: rows * source * target,
    }
    places, best = [(position, position.epoch) for position in positions(batches)], {}
    for number, batch in enumerate(batches):
        shape = _shape(batch)
        for name, cost in costs.items():
            if name not in best or cost(*shape) > cost(*_shape(best[name][1])):
                best[name] = number, batch
    for position, epoch in places:
        position.epoch = epoch
    if not best:
        raise InputError("there are no batches to try: is max_length too small, or the data empty?")
    return [*dict(best.values()).values()]


def _shape(batch):
    inputs = batch[0]
    return *map(int, inputs["source_ids"].shape), int(inputs["target_ids"].shape[1])
