"""The trainable model: an encoder and a decoder behind `compile`, `fit`, `evaluate`, `save` and `load`.

Shapes: **B** batch, **S** source length, **T** target length, **M** real tokens of a batch, **N** rows, **V** vocabulary.
"""

import warnings

import keras
import tensorflow as tf

from tf_seq2seq.data.dealing import dealt
from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.distributed import build_metrics, lost_workers_told, step_logs, with_a_column
from tf_seq2seq.models.gradients import joined_parts, joined_replicas
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.models.updates import update

# Keras says these of every dataset that does not know its number of batches, when an epoch ends as it should.
warnings.filterwarnings("ignore", "Your input ran out of data", module="keras")
warnings.filterwarnings("ignore", "`shuffle=True` was passed, but will be ignored", module="keras")


@keras.saving.register_keras_serializable("tf_seq2seq")
class Seq2Seq(keras.Model):
    """Encoder, bridge and decoder as one Keras model.

    `fit` takes batches ``({"source_ids": (B, S), "target_ids": (B, T)}, labels (B, T))`` of int32, right-padded, and
    optionally sample weights (B,) or (B, T). The loss is the mean over all real tokens, whatever batch they are in;
    the logs hold `loss`, `perplexity` (e to the mean negative log-likelihood, without label smoothing) and `accuracy`
    (share of tokens whose most likely id is the label). Metrics given to `compile` see real tokens only: labels (M,)
    and logits (M, V).

    Training computes in the dtype of Keras's policy; `encode`, `start` and `step`, which search uses, compute in
    float32, so that a model gives the same answer wherever it is loaded.

    >>> from tf_seq2seq.models.encoders import RNNEncoder
    >>> from tf_seq2seq.models.decoders import RNNDecoder
    >>> model = Seq2Seq(RNNEncoder(10, units=4), RNNDecoder(12, units=4))
    >>> batch = {"source_ids": tf.constant([[5, 6, 3]]), "target_ids": tf.constant([[2, 7, 8]])}
    >>> tuple(model(batch).shape)
    (1, 3, 12)

    Args:
        encoder: a layer ``encoder(source) -> EncoderOutput`` with `values_size` and `state_sizes`.
        decoder: a decoder as `models.contracts` has it; it is built for the encoder here.
    """

    jit_update = True  # XLA compiles the update of the weights

    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        if not decoder.built:
            decoder.build(encoder.values_size, encoder.state_sizes)
        self.log_gradient_norm = False
        self.parts = 1
        self.has_token_metrics = False
        self.trackers = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "perplexity", "accuracy", "gradient_norm", "skipped")
        }
        self.objective = maximum_likelihood
        self.built = True

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoder": serialize(self.encoder),
            "decoder": serialize(self.decoder),
        }

    @classmethod
    def from_config(cls, config):
        config = {**config}
        for name in ("encoder", "decoder"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)

    def build(self, input_shape=None):
        """Does nothing: a model is built when it is made."""

    def call(self, inputs, labels=None, training=False, decode=None):
        """Teacher-forced logits.

        Args:
            inputs: {"source_ids": (B, S), "target_ids": (B, T)} int32.
            labels: (B, T) int32; if given, logits are computed for real tokens only.
            training: whether dropout drops anything.
            decode: ``decode(state, memory)`` in place of the teacher-forced pass, in the same dtype; what it gives is
                given back. For objectives that want more than logits.

        Returns:
            logits (B, T, V) float32, or (M, V) in the order of ``labels[labels != PAD]``, in the compute dtype.
        """
        encoded = self.encoder(inputs, training=training)
        state, memory = self.decoder.initial_state(encoded), self.decoder.memory(encoded, inputs)
        if decode is not None:
            return decode(state, memory)
        features, _ = self.decoder.features(inputs["target_ids"], state, memory, training)
        if labels is None:
            return tf.cast(self.decoder.project(features), tf.float32)
        return self.decoder.project(
            tf.gather_nd(features, tf.where(labels != PAD))
        )  # (B, T, D) -> (M, D) -> (M, V)

    def alignments(self, inputs):
        """Where each teacher-forced target token looks: (B, T, S) float32, or None without attention."""
        state, memory = self.start(inputs)
        return self.decoder.features(inputs["target_ids"], state, memory)[1]

    def encode(self, source):
        """Encodes a source in float32 -> `EncoderOutput`."""
        return self.encoder.call(source, training=False)

    def start(self, source):
        """State and memory of a search over a source, rows first in every leaf, float32."""
        encoded = self.encode(source)
        return self.decoder.initial_state(encoded), self.decoder.memory(encoded, source)

    def begin(self, source):
        """What a search over a source needs: the step function, the state before the first step, the memory."""
        return self.step, *self.start(source)

    def step(self, ids, state, memory):
        """One step of a search: ids (N,) int32 -> `StepOutput`."""
        return self.decoder.step(ids, state, memory)

    def with_weights(self, dtype):
        """The same model with weights of another dtype, to search with.

        Products are then computed in that dtype; states, energies, logits and scores stay float32. See
        `tf_seq2seq.layers.precision.fastest_weights` for whether it pays.

        Args:
            dtype: "bfloat16" or "float32".

        Returns:
            a new model with copies of the weights.
        """
        model = type(self).from_config(_of_dtype(self.get_config(), dtype))
        for new, old in zip(model.weights, self.weights, strict=True):
            new.assign(tf.cast(old, new.dtype))
        return model

    def compile(self, optimizer="adam", loss=None, *, objective=None, parts=1, jit_compile=False, **kwargs):
        """As `keras.Model.compile`.

        Args:
            optimizer: as Keras takes it.
            loss: a `SequenceCrossEntropy`, or any Keras loss of labels (M,) and logits (M, V); None for plain
                cross-entropy.
            objective: ``objective(model, batch, training) -> loss_sum, weight_sum, metrics``; None for maximum
                likelihood under `loss`. One with a `get_config` is saved with the model; a plain function is not.
            parts: into how many parts of equal rows a step cuts its batch, one after the other in memory (gradient
                accumulation); the step is that of the whole batch.
            jit_compile: whether XLA compiles the whole step; off, as sentence lengths differ.
            **kwargs: metrics and the rest, as Keras takes them.

        Raises:
            InputError: for a loss that is a name or a nest (there is one output, and it is logits), or for parts that
                are no number above 0.
        """
        if loss is not None and not callable(loss):
            raise InputError(
                f"loss is a Keras loss that reads logits, not {loss!r}; give SequenceCrossEntropy() or "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
            )
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            raise InputError(
                f"parts is the number of pieces that a batch is cut into, 1 or more, not {parts!r}"
            )
        self.objective = objective or maximum_likelihood
        self.parts = parts
        self.has_token_metrics = any(kwargs.get(name) is not None for name in ("metrics", "weighted_metrics"))
        super().compile(optimizer=optimizer, loss=loss, jit_compile=jit_compile, **kwargs)

    def get_compile_config(self):
        """What `compile` was given, as Keras saves it; of objectives those only that Keras can serialise."""
        config = super().get_compile_config()
        if config:  # compiled
            config = {**config, "parts": self.parts}
            if hasattr(self.objective, "get_config"):
                config["objective"] = keras.saving.serialize_keras_object(self.objective)
        return config

    def compile_from_config(self, config):
        """Compiles a loaded model as it was; an objective that is a plain function is not stored: compile again."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        ours = [*self.trackers.values()]
        return [*ours, *(metric for metric in super().metrics if metric.name not in self.trackers)]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean loss of a real token of the batch, scalar float32; updates the trackers."""
        return self._mean_loss(x, y, sample_weight, training)[0]

    def _mean_loss(self, x, y, sample_weight, training):
        """Mean loss and weight of a batch, () float32 each; a loss of training that is not finite is not tracked."""
        loss_sum, weight_sum, metrics = self.objective(self, (x, y, sample_weight), training)
        counts = tf.math.is_finite(loss_sum) | (not training)
        for name, (total, weight) in {"loss": (loss_sum, weight_sum), **metrics}.items():
            if name not in self.trackers:  # an objective's own
                self.trackers[name] = keras.metrics.Mean(name=name)
            mean = tf.where(counts, total / tf.maximum(weight, 1e-9), 0.0)
            self.trackers[name].update_state(mean, tf.where(counts, weight, 0.0))
        return loss_sum / tf.maximum(weight_sum, 1e-9), weight_sum

    def update_token_metrics(self, labels, logits, weight):
        """Shows the metrics given to `compile` the real tokens: labels (M,), logits (M, V), weight (M,) float32."""
        self.compute_metrics(None, labels, tf.cast(logits, tf.float32), weight)

    def fit(self, x=None, *args, validation_data=None, **kwargs):
        """As `keras.Model.fit`; under a `tf.distribute` strategy each batch is dealt to the replicas by rows."""
        x, validation_data = (dealt(data, self._distribute_strategy) for data in (x, validation_data))
        with lost_workers_told():
            return super().fit(x, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """As `keras.Model.evaluate`; batches are dealt as `fit` does it."""
        return super().evaluate(dealt(x, self._distribute_strategy), *args, **kwargs)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras looks at the mean of the replicas' batches here, which has no shape, as their shapes differ."""
        if self._distribute_strategy is not None:
            build_metrics(self, iterator)

    def make_train_function(self, force=False):
        """Builds the optimizer first: a step that makes variables would be traced twice."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, data):
        """One step of `fit`: the gradient of the whole batch over all parts and replicas, one update."""
        given = [one for one in tf.nest.flatten(data) if one is not None]
        with tf.control_dependencies(given):  # without data, at an epoch's end, no seed counts on
            return self._step(data)

    def _step(self, data):
        data = with_a_column(data) if tf.distribute.has_strategy() else data
        shapes = [weight.shape for weight in self.trainable_weights]
        gradients, weight = joined_parts(self._gradients, data, self.parts, shapes)
        gradients = joined_replicas(gradients, weight)
        norm, made = update(self.optimizer, gradients, self.trainable_weights, self.jit_update)
        self.trackers["gradient_norm"].update_state(norm, tf.cast(made, tf.float32))
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        self.trackers["skipped"].update_state(tf.where(made, 0.0, 1.0), 1.0 / replicas)
        return step_logs(self.get_metrics_result())

    def _gradients(self, data):
        """Gradients of a batch's mean loss times the loss scale, dense, and the batch's weight."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss, weight = self._mean_loss(x, y, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        weights = [weight.value for weight in self.trainable_weights]
        gradients = tape.gradient(scaled, weights, unconnected_gradients="zero")
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # of embeddings: dense
        # A loss may be infinite where its gradient is not; the smallest is marked, as that costs a pass over it.
        spoilt = tf.where(tf.math.is_finite(loss), 0.0, loss)
        place = min(range(len(weights)), key=lambda one: weights[one].shape.num_elements())
        gradients[place] += tf.cast(spoilt, gradients[place].dtype)
        return gradients, weight

    def test_step(self, data):
        """One step of `evaluate`."""
        data = with_a_column(data) if tf.distribute.has_strategy() else data
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.compute_loss(x, y, sample_weight=sample_weight, training=False)
        logs = self.get_metrics_result()
        logs.pop("gradient_norm", None)  # there is none
        return step_logs(logs)

    def get_metrics_result(self):
        """The logs so far, as Keras asks for them after every step and at an epoch's end."""
        logs = super().get_metrics_result()
        logs["perplexity"] = tf.exp(self.trackers["perplexity"].result())
        del logs["skipped"]
        if not self.log_gradient_norm:
            del logs["gradient_norm"]
        return logs


def _of_dtype(config, dtype):
    """A configuration whose layers, all of them, have a dtype."""
    if isinstance(config, dict):
        return {key: dtype if key == "dtype" else _of_dtype(value, dtype) for key, value in config.items()}
    return [_of_dtype(value, dtype) for value in config] if isinstance(config, (list, tuple)) else config
