"""The loss of a sequence model, as `compile` takes it.

Shapes: **B** batch, **T** target length, **V** vocabulary.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import token_cross_entropy


@keras.saving.register_keras_serializable("tf_seq2seq")
class SequenceCrossEntropy(keras.losses.Loss):
    """Label-smoothed cross-entropy, its mean over real tokens; padding has no part in it.

    `Seq2Seq` computes it for the real tokens only; with any other Keras model it is an ordinary loss.

    >>> loss = SequenceCrossEntropy(label_smoothing=0.1)
    >>> logits = keras.ops.zeros((2, 3, 8))
    >>> round(float(loss([[4, 5, 3], [6, 3, 0]], logits)), 4)  # log 8
    2.0794

    Args:
        label_smoothing: eps of `token_cross_entropy`, in [0, 1).
        name: the loss's name.

    Raises:
        InputError: for a smoothing outside [0, 1).

    Source:
        Szegedy et al. 2016, section 7.
    """

    def __init__(self, label_smoothing=0.0, name="sequence_cross_entropy"):
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing is a share in [0, 1), not {label_smoothing}; 0.1 is usual")
        super().__init__(name=name, reduction="mean_with_sample_weight", dtype="float32")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Loss of each token.

        Args:
            y_true: (B, T) labels, PAD where there is no token.
            y_pred: (B, T, V) logits.

        Returns:
            (B, T) float32, nats, 0 at padding.
        """
        return token_cross_entropy(y_pred, tf.cast(y_true, tf.int32), self.label_smoothing)[0]

    def of_tokens(self, labels, logits):
        """What `Seq2Seq` trains on: labels (M,), logits (M, V) -> loss and negative log-likelihood, (M,) float32."""
        return token_cross_entropy(logits, labels, self.label_smoothing)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Mean loss of a real token, float32 scalar, nats; `sample_weight` is (B,) or (B, T)."""
        weight = tf.cast(tf.not_equal(y_true, PAD), tf.float32)
        if sample_weight is not None:
            sample_weight = tf.cast(sample_weight, tf.float32)
            weight *= sample_weight if sample_weight.shape.rank > 1 else sample_weight[:, None]
        return super().__call__(y_true, y_pred, sample_weight=weight)

    def get_config(self):
        return {"label_smoothing": self.label_smoothing, "name": self.name}
