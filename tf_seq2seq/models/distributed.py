"""What `Seq2Seq` needs of a `tf.distribute` strategy besides gradients: metrics, logs, and word of lost workers."""

import contextlib
import re

import keras
import tensorflow as tf

from tf_seq2seq.models.objectives import maximum_likelihood


def build_metrics(model, iterator=None):
    """Makes the variables of metrics that would be made in the first step, as replicas cannot.

    Args:
        model: a `Seq2Seq` of a strategy, compiled.
        iterator: what Keras iterates over an epoch with; None if there is none.
    """
    with model.distribute_strategy.scope():
        metrics = model._compile_metrics
        if metrics is not None and not metrics.built:
            shapes = ([None], "int32"), ([None, model.decoder.vocab_size], "float32")
            metrics.build(*(keras.KerasTensor(*one) for one in shapes))
        batches = getattr(iterator and iterator.data_adapter.get_tf_dataset(), "batches", None)
        if batches is not None and model.objective is not maximum_likelihood:
            for name in _objectives_metrics(model, batches.element_spec):
                model.trackers.setdefault(name, keras.metrics.Mean(name=name))


def _objectives_metrics(model, spec):
    """Names of the numbers that an objective gives for batches of a specification; nothing is computed."""
    names = []

    def trace(*batch):
        batch = keras.utils.unpack_x_y_sample_weight(batch)
        names.extend(model.objective(model, batch, training=True)[2])

    on_each = tf.function(lambda *batch: model.distribute_strategy.run(trace, args=batch), autograph=False)
    on_each.get_concrete_function(*spec)
    return dict.fromkeys(names)


def with_a_column(batch):
    """A replica's batch as loops over time can take it: where there is no more data TensorFlow gives (0, 0) tensors.

    >>> with_a_column((tf.zeros([0, 0]), tf.zeros([2, 3])))[0].shape.as_list()
    [0, 1]

    Args:
        batch: nest of tensors (B, ...).

    Returns:
        the batch; tensors of rank 2 and more have a first column.
    """

    def padded(one):
        if one.shape.rank < 2 or one.shape[1]:
            return one
        missing = tf.cast(tf.shape(one)[1] == 0, tf.int32)
        return tf.pad(one, [[0, 0], [0, missing], *[[0, 0]] * (one.shape.rank - 2)])

    return tf.nest.map_structure(padded, batch)


def step_logs(logs):
    """A replica's logs of a step, as Keras can join them: of several workers it takes the mean over axis 0.

    So logs are the replicas' mean while an epoch goes on; at its end they are those of all tokens.

    >>> step_logs({"loss": tf.constant(1.0)})["loss"].shape.rank
    0

    Args:
        logs: dict of () tensors.

    Returns:
        dict of () tensors, or of (1,) tensors in one of several workers.
    """
    extended = tf.distribute.get_strategy().extended
    several = getattr(extended, "_in_multi_worker_mode", lambda: False)()  # as Keras asks it
    return {name: tf.reshape(one, [1]) for name, one in logs.items()} if several else logs


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
