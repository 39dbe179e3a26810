"""Training as TensorBoard shows it: numbers, translations, attention."""

import math
import time
from pathlib import Path

import keras
import tensorflow as tf

from tf_seq2seq.data.position import positions
from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.alignments import plot_generated, png
from tf_seq2seq.evaluation.evaluate import generate_texts, read_pairs
from tf_seq2seq.evaluation.report import samples_markdown
from tf_seq2seq.evaluation.scores import corpus_bleu
from tf_seq2seq.training.gates import gate_shares, gradient_norms

_RUNS = ("train", "validation")
_OF_TRAINING = ("learning_rate", "gradient_norm", "tokens_per_second")
_INSPECTED = 32  # sentences


class Monitor(keras.callbacks.Callback):
    """Writes what TensorBoard shows; ``tensorboard --logdir <log_dir>`` opens it.

    Every `every` steps: loss, perplexity and accuracy over just these steps, learning rate, tokens per second
    of training and, where ``model.log_gradient_norm`` is set, the gradient norm. At the end of an epoch: the
    same on the validation data and, with a generator, BLEU of the samples, some of them as text, and
    attention maps of a few; with `inspected`, what share of each layer's gates is closed or open and the gradient's
    norm in each layer, see `tf_seq2seq.training.gates`. BLEU also goes into the epoch's logs as ``val_bleu``, where
    `BestModel` and `EarlyStopping` find it if they stand later in the list of callbacks.

    >>> monitor = Monitor("runs/first/logs", every=100)
    >>> monitor.every
    100

    Args:
        log_dir: folder of this run's event files.
        generator: a `TextGenerator` around the model in training.
        samples: pairs to generate for, such as ``pairs.valid``: a dataset or a list of (source, target)
            strings.
        sample_count: how many pairs of `samples` BLEU is taken over.
        shown: how many of them are shown as text.
        maps: how many of those are shown as attention maps; 0 for a model without attention.
        every: steps between two points of the training curves.
        gradient_norm: whether the model shall compute the norm of its whole gradient at each step.
        batch_size: sentences generated at once.
        inspected: batches, such as the validation data, of whose first one gates and gradients are shown; of up to 32
            sentences, which takes about a second an epoch.

    Raises:
        InputError: if only one of generator and samples is given, or samples is empty.
    """

    def __init__(
        self,
        log_dir,
        generator=None,
        samples=None,
        *,
        sample_count=200,
        shown=8,
        maps=3,
        every=50,
        gradient_norm=True,
        batch_size=64,
        inspected=None,
    ):
        super().__init__()
        if (generator is None) != (samples is None):
            raise InputError("Monitor generates only with both a generator and samples; give both or neither")
        self.log_dir = Path(log_dir)
        self.generator = generator
        self.pairs = [] if samples is None else read_pairs(samples, sample_count)
        if samples is not None and not self.pairs:
            raise InputError("Monitor's samples hold no pair; give it some, such as pairs.valid")
        self.shown = shown
        self.maps = maps
        self.every = every
        self.gradient_norm = gradient_norm
        self.batch_size = batch_size
        self.inspected = inspected
        self._writers = {}
        self._step = None
        self._epoch_start = 0
        self._seen = {}
        self._since = None

    def set_model(self, model):
        super().set_model(model)
        if self.gradient_norm:
            model.log_gradient_norm = True  # read when `fit` traces its step, which comes after this

    def on_train_begin(self, logs=None):
        self._writers = {name: tf.summary.create_file_writer(str(self.log_dir / name)) for name in _RUNS}
        self._step = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._step is None:  # not at the training's beginning: `Resume` may stand later in the list
            self._step = int(self.model.optimizer.iterations.numpy())
        self._epoch_start = self._step
        self._seen, self._since = {}, time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:  # of a resumed epoch, the trackers hold what was before
            trackers = getattr(self.model, "trackers", {})
            self._seen = {name: (float(one.total), float(one.count)) for name, one in trackers.items()}

    def on_train_batch_end(self, batch, logs=None):
        before, self._step = self._step, self._epoch_start + batch + 1
        if self._step // self.every > before // self.every:
            self._write("train", self._training_numbers(logs or {}))

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if self.generator is not None:
            logs["val_bleu"] = self._generate()
        scores = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        self._write("validation", {name: scores[name] for name in scores if name not in _OF_TRAINING})
        if self.inspected is not None:
            self._inspect()
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()

    def _write(self, run, numbers):
        with self._writers[run].as_default(step=self._step):
            for name, value in numbers.items():
                group = "training" if name in _OF_TRAINING else "scores"  # shown together
                tf.summary.scalar(f"{group}/{name}", float(value))

    def _training_numbers(self, logs):
        """Numbers of the steps since the last point; Keras's logs are means since the epoch's beginning."""
        numbers = {name: float(value) for name, value in logs.items()}
        numbers["learning_rate"] = float(self.model.optimizer.learning_rate)
        numbers.update(self._interval_numbers())
        return numbers

    def _interval_numbers(self):
        """Means over the last interval from the sums and counts of `Seq2Seq`'s trackers."""
        now, means = time.perf_counter(), {}
        for name, tracker in getattr(self.model, "trackers", {}).items():
            total, count = float(tracker.total), float(tracker.count)
            total_before, count_before = self._seen.get(name, (0.0, 0.0))
            self._seen[name] = total, count
            if count > count_before:
                means[name] = (total - total_before) / (count - count_before)
            if name == "loss":
                means["tokens_per_second"] = (count - count_before) / max(now - self._since, 1e-9)
        if "perplexity" in means:
            means["perplexity"] = math.exp(min(means["perplexity"], 80.0))  # the tracker holds nats
        self._since = now
        return means

    def _inspect(self):
        places = [(position, position.epoch) for position in positions(self.inspected)]
        batch = tf.nest.map_structure(lambda one: one[:_INSPECTED], next(iter(self.inspected)))
        for position, epoch in places:
            position.epoch = epoch  # looking into training data is no pass over them
        groups = {"gates": gate_shares(self.model, batch[0]), "gradients": gradient_norms(self.model, batch)}
        with self._writers["train"].as_default(step=self._step):
            for group, numbers in groups.items():
                for name, value in numbers.items():
                    tf.summary.scalar(f"{group}/{name}", value)

    def _generate(self):
        sources, references = zip(*self.pairs)
        hypotheses = generate_texts(self.generator, sources, self.batch_size)
        rows = list(zip(sources, hypotheses, references))[: self.shown]
        with self._writers["validation"].as_default(step=self._step):
            tf.summary.text("samples", samples_markdown(rows))
            for index, source in enumerate([text for text in sources if text.strip()][: self.maps]):
                picture = png(plot_generated(self.generator, source), dpi=100)
                tf.summary.image(f"attention/{index + 1}", tf.io.decode_png(picture, channels=3)[None])
        return corpus_bleu(hypotheses, references).value
