"""The adaptive softmax against its formula in NumPy, and its training against the whole distribution.

Shapes: **M** tokens, **D** feature size, **V** vocabulary.
"""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import Vocabulary
from tf_seq2seq.decoding.shortlist import Shortlist, Shortlisted
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.compression import compressed
from tf_seq2seq.models import zoo
from tf_seq2seq.models.adaptive_softmax import AdaptiveSoftmax
from tf_seq2seq.models.decoders import RNNDecoder
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.models.sampled_softmax import SampledSoftmax
from tf_seq2seq.training.losses import SequenceCrossEntropy
from tf_seq2seq.training.vocabulary_update import with_vocabulary

V, D, CUTOFFS = 301, 32, (40, 120)


@pytest.fixture(scope="module")
def softmax():
    made = AdaptiveSoftmax(V, CUTOFFS)
    made.build((None, D))
    return batteries.randomised(made, 0.5)


@pytest.fixture(scope="module")
def features():
    return tf.constant(np.random.default_rng(0).normal(size=(9, D)), tf.float32)


def model(label_smoothing=0.0, **sizes):
    made = zoo.luong2015(
        batteries.SOURCE_V,
        V,
        depth=1,
        embedding_size=5,
        dropout=0.0,
        adaptive=CUTOFFS,
        **{"units": 16} | sizes,
    )
    batteries.randomised(made, 0.5)
    made.compile(keras.optimizers.SGD(0.1), SequenceCrossEntropy(label_smoothing), run_eagerly=True)
    return made


def batch(scale=27):
    inputs, labels = batteries.batch(rows=6)
    return inputs, np.where(labels > 3, labels * scale, labels), None  # labels all over the vocabulary


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_it_is_what_its_formula_says(softmax, features):
    log_probs, parts = softmax(features).numpy(), []
    for i, cluster in enumerate(softmax.clusters):
        seen = features.numpy() @ cluster.reduction.numpy() if i else features.numpy()
        assert seen.shape[1] == D // 4**i
        parts.append(
            log_softmax(seen @ cluster.projection_kernel.numpy().T + cluster.projection_bias.numpy())
        )
    head, *tails = parts
    expected = [head[:, :40], head[:, 40:41] + tails[0], head[:, 41:] + tails[1]]
    np.testing.assert_allclose(log_probs, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("labels", [[5, 39, 40, 119, 120, 300, 3, 77, 200], [4] * 9, [300] * 9])
def test_a_label_costs_what_it_costs_in_the_whole_distribution(softmax, features, labels):
    labels = tf.constant(labels)
    weights = softmax.trainable_weights
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        nll, right = softmax.nll(features, labels)
        whole = -tf.gather(softmax(features), labels, batch_dims=1)
    np.testing.assert_allclose(nll, whole, rtol=1e-4)
    assert right.dtype == bool and right.shape == (9,)
    for of in [features, *weights]:
        one, other = (tape.gradient(loss, of, unconnected_gradients="zero") for loss in (nll, whole))
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_right_is_the_likeliest_of_the_likeliest_cluster(softmax):
    features = tf.constant(np.random.default_rng(1).normal(size=(90, D)), tf.float32)
    log_probs = softmax(features).numpy()
    head = log_softmax(softmax.clusters[0].logits(features).numpy())
    best = []
    for row, chosen in zip(log_probs, head.argmax(axis=1)):
        begin, end = (0, 40) if chosen < 40 else [(40, 120), (120, V)][chosen - 40]
        best.append(chosen if chosen < 40 else begin + row[begin:end].argmax())
    assert {one < 40 for one in best} == {True, False}
    assert softmax.nll(features, tf.constant(best, tf.int32))[1].numpy().all()
    others = tf.constant([(one + 1) % V for one in best], tf.int32)
    assert not softmax.nll(features, others)[1].numpy().any()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1, 27])
def test_training_has_the_loss_and_gradient_of_the_whole(label_smoothing, scale):
    made, data = model(label_smoothing), batch(scale)
    found = []
    for training in (True, False):  # nothing is dropped in either
        with tf.GradientTape() as tape:
            loss, total, metrics = maximum_likelihood(made, data, training)
        gradients = tape.gradient(loss, made.trainable_weights, unconnected_gradients="zero")
        found.append((loss, total, metrics["perplexity"], [tf.convert_to_tensor(one) for one in gradients]))
    for one, other in zip(tf.nest.flatten(found[0]), tf.nest.flatten(found[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_step_of_training_computes_no_logits_of_the_whole_vocabulary():
    made, (inputs, labels, _) = model(), batch()

    def widths(training):
        """The last axes of all tensors of the step."""
        step = tf.function(
            lambda: maximum_likelihood(made, (inputs, tf.constant(labels, tf.int32), None), training)[0]
        )
        tensors = [one for op in step.get_concrete_function().graph.get_operations() for one in op.outputs]
        return {one.shape[-1] for one in tensors if one.shape.rank}

    assert V in widths(False) and V not in widths(True)


def test_weights_of_samples_count():
    made, (inputs, labels, _) = model(), batch()
    weight = np.arange(6, dtype="float32")
    one, other = (maximum_likelihood(made, (inputs, labels, weight), training) for training in (True, False))
    np.testing.assert_allclose(one[:2], other[:2], rtol=1e-4)


@pytest.mark.learning
def test_it_learns():
    made, (inputs, labels, _) = model(), batch()
    made.compile(keras.optimizers.Adam(0.05))
    history = made.fit(inputs, labels, epochs=100, verbose=0).history
    assert history["perplexity"][-1] < 2 < 20 < history["perplexity"][0]
    assert history["accuracy"][-1] > 0.8


def test_bfloat16_has_its_sums_in_float32(features):
    made = AdaptiveSoftmax(V, CUTOFFS, dtype="mixed_bfloat16")
    log_probs = made(features)
    assert log_probs.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(log_probs), axis=1), 1.0, rtol=1e-5)


def test_it_is_smaller_than_a_projection():
    sizes = [
        RNNDecoder(50_000, 256, embedding_size=8, adaptive=cutoffs) for cutoffs in (None, (2000, 10_000))
    ]
    for decoder in sizes:
        decoder.build(256, [(256, 256)])
    full, adaptive = (decoder.count_params() for decoder in sizes)
    assert full - adaptive > 0.8 * 50_000 * 256


def test_compressed_weights_say_nearly_the_same():
    made = model(units=64)
    source = {"source_ids": np.array([[5, 3]], "int32")}
    found = []
    for one in (made, compressed(made, "int8")[0]):
        step, state, memory = one.begin(source)
        found.append(step(tf.constant([2]), state, memory).log_probs[0, :V])
    assert 0 < np.abs(found[0] - found[1]).max() < 0.3


@pytest.mark.parametrize("cutoffs", [(), (3,), (10, 10), (10, 5), (301,), (2.5,), (True, 9)])
def test_cutoffs_that_make_no_clusters_are_refused(cutoffs):
    with pytest.raises(
        InputError, match="adaptive is the first ids of clusters, rising from 4 or more to below 301"
    ):
        RNNDecoder(V, 4, adaptive=cutoffs)


def test_what_needs_a_vector_a_token_is_refused():
    made = model()
    with pytest.raises(ValueError, match="set tied or adaptive"):
        RNNDecoder(V, 4, tied=True, adaptive=CUTOFFS)
    with pytest.raises(InputError, match="an adaptive softmax has no vector a token"):
        SampledSoftmax(5)(made, batch(), True)
    with pytest.raises(InputError, match="an adaptive softmax has no vector a token"):
        Shortlisted(made, Shortlist([[0]] * batteries.SOURCE_V))
    vocabulary = Vocabulary([f"t{i}" for i in range(V - 4)])
    with pytest.raises(InputError, match="clusters of an adaptive softmax are those of one vocabulary"):
        with_vocabulary(made, target=(vocabulary, vocabulary))
