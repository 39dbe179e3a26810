"""What the processor allows at best: matrix products and reads of one core, and the decoding speed that follows.

    python decode_floor.py     prints one line of JSON

Run by `decode_speed.py` with the threads and the core of everything else. The counts are of the common model:
embeddings of 256, bidirectional encoder of 256 a direction, decoder of 512, 8,003 tokens.
"""

import json
import os
import time

import numpy as np

# Multiply-adds, in millions. A weight is read once a step, whatever the number of rows, and multiplied once a row.
ENCODER = 0.96 + 0.26  # encoder and attention keys, for each token of the hypothesis given back
DECODER = 2.62 + 0.01 + 0.52  # LSTM, scores and context, tanh layer: for each row and step
UNITS = 512  # the projection has so many multiply-adds for each column
VOCABULARY = 8003  # columns

BYTES = {"float32": 4, "bfloat16": 2}
PRODUCTS = [(160, 512, 8003), (512, 512, 8192), (1024, 1024, 4096)]  # rows, width in, width out
STEP = [
    (1280, 2064),
    (1024, 512),
    (UNITS, 8016),
]  # width in and out of an LSTM's, a tanh layer's and a projection's product
ROWS = [1, 5, 32, 160]  # K * B of the cases
READS = [4, 8, 15, 30]  # MB: what fits into a cache is read several times as fast
ROUNDS = 30


def floor(measured, beam, batch, precision="float32", columns=None):
    """The most output tokens a second: products at the best rate, every weight read once a step, nothing else.

    A step costs what is more, multiplying for B * K rows or reading the weights; with `columns`, a shortlist, the
    projection has only those. Sources end together and no step is in vain, so real searches stay below.

    >>> measured = {"gflops": {"float32": 240.0}, "read_gb_per_second": {"30": 90.0}}
    >>> [round(floor(measured, *case)) for case in [(1, 32), (5, 32), (1, 1), (5, 1)]]
    [14172, 3204, 3010, 3010]

    Args:
        measured: what `measure` gives.
        beam, batch: K hypotheses a source, B sources at once.
        precision: float32 or bfloat16.
        columns: tokens of the shortlist; None for the whole vocabulary.

    Returns:
        tokens a second, float.
    """
    weights = DECODER + UNITS * (columns or VOCABULARY) / 1e6  # millions
    flops = 1e9 * measured["gflops"][precision]
    multiplying = 2e6 * weights * beam * batch / flops  # seconds a step
    size = weights * BYTES[precision]  # MB
    rates = measured["read_gb_per_second"]
    reading = 1e-3 * size / rates[min(rates, key=lambda megabytes: abs(int(megabytes) - size))]
    return 1 / (max(multiplying, reading) / batch + 2e6 * ENCODER / flops)


def floor_of_products(measured, beam, batch):
    """The same with a step's products as TensorFlow's fastest take for so many rows in float32, and nothing else.

    >>> measured = {"gflops": {"float32": 240.0}, "step_ms": {"1": 0.6, "160": 10.0}}
    >>> [round(floor_of_products(measured, *case)) for case in [(5, 32), (1, 1)]]
    [3099, 1639]
    """
    step = 1e-3 * measured["step_ms"][str(beam * batch)]
    return 1 / (step / batch + 2e6 * ENCODER / (1e9 * measured["gflops"]["float32"]))


def measure():
    """{"gflops": {precision: of the fastest product}, "read_gb_per_second": {MB: of so many, again and again},
    "step_ms": {rows: of a step's products}}."""
    import tensorflow as tf

    threads = int(os.environ.get("THREADS", "1"))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    gflops = {name: max(product_gflops(tf, shape, name) for shape in PRODUCTS) for name in BYTES}
    return {
        "gflops": {name: round(rate, 1) for name, rate in gflops.items()},
        "step_ms": {str(rows): round(1e3 * step_seconds(tf, rows), 3) for rows in ROWS},
        "read_gb_per_second": {str(size): round(read_gb_per_second(tf, size), 1) for size in READS},
    }


def product_gflops(tf, shape, precision):
    """10^9 operations a second of a matrix product in TensorFlow."""
    rows, inside, outside = shape
    return 2e-9 * rows * inside * outside / products_seconds(tf, rows, [(inside, outside)], precision)


def step_seconds(tf, rows):
    """Of the products of a decoder's step in float32, one after the other: each finds the cache as the others leave it."""
    return products_seconds(tf, rows, STEP, "float32")


def products_seconds(tf, rows, shapes, precision):
    """Of products of `rows` rows with kernels (width in, width out), in one function."""
    lefts = [tf.ones((rows, inside), precision) for inside, _ in shapes]
    kernels = [tf.Variable(tf.ones(shape, precision)) for shape in shapes]
    run = tf.function(lambda *lefts: [tf.linalg.matmul(*pair)[0, 0] for pair in zip(lefts, kernels)])
    return seconds(lambda: run(*lefts)[0].numpy())


def read_gb_per_second(tf, megabytes):
    """The fastest of some operations of NumPy and XLA that read so much and write next to nothing."""
    weights = np.full((512, megabytes * 10**6 // 2048), 0.5, np.float32)
    one, flat = np.ones(weights.shape[1], np.float32), weights.ravel()
    variable = tf.Variable(weights)
    summed = tf.function(lambda: tf.reduce_sum(variable, axis=1)[0], jit_compile=True)
    reads = [lambda: weights @ one, lambda: flat @ flat, lambda: weights.max(), lambda: summed().numpy()]
    return 1e-9 * weights.nbytes / min(seconds(read) for read in reads)


def seconds(work):
    """The least of some rounds, so that a busy neighbour does not decide."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - begun)
    return min(rounds)


if __name__ == "__main__":
    print(json.dumps(measure()))
