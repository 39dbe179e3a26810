"""What must hold for every public layer, model and strategy: batteries over the lists of `batteries.py`.

Shapes: **B** batch, **S** source length, **T** target length, **N** rows, **V** vocabulary.
"""

import functools
import importlib
import inspect
import itertools
import string

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_seq2seq
from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.synthetic import SyntheticTask
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.models import zoo
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.models.seq2seq import Seq2Seq
from tf_seq2seq.training.losses import SequenceCrossEntropy

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ANY = [*batteries.DECODERS, *batteries.ZOO]
WITH_ATTENTION = [name for name in ANY if name.startswith(("dot", "general", "additive"))]
WITH_ATTENTION += ["bahdanau2015", "luong2015", "gnmt"]
LOOKS = ["dot", "general", "additive"]  # at the source, by the query
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]


def eager(model, **options):
    """The model compiled so that nothing is traced."""
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True, **options)
    return model


def gradients(model, inputs, labels):
    """Loss and its gradient by each trainable variable."""
    with tf.GradientTape() as tape:
        loss_sum, weight_sum, _ = model.objective(model, (inputs, labels, None), True)
        loss = loss_sum / weight_sum
    found = tape.gradient(loss, model.trainable_weights)
    return loss, [None if one is None else tf.convert_to_tensor(one).numpy() for one in found]


def public(rooms):
    """Public classes and functions of some rooms."""
    for module, names in tf_seq2seq._PUBLIC.items():
        if module.split(".")[0] in rooms:
            for name in names:
                yield module, name, getattr(importlib.import_module(f"tf_seq2seq.{module}"), name)


def is_strategy(value):
    parameters = list(inspect.signature(value.__call__).parameters) if inspect.isclass(value) else []
    return parameters[1:5] == ["step", "state", "memory", "rows"]


# Nothing is missing from its list


def test_no_public_class_is_missing_from_its_battery():
    """Layers, models and strategies by class, NamedTuples aside; what Keras can save by class, in any room."""
    listed = {type(one) for one in batteries.public_objects().values()}
    wanted = {value for _, _, value in public(["layers", "models"]) if inspect.isclass(value)}
    wanted |= {value for _, _, value in public(["decoding"]) if is_strategy(value)}
    savable = public(["decoding", "training", "models", "layers"])
    wanted |= {value for _, _, value in savable if inspect.isclass(value) and hasattr(value, "get_config")}
    missing = {value.__name__ for value in wanted - listed if not issubclass(value, tuple)}
    assert not missing, f"give these a tiny instance in tests/batteries.py: {sorted(missing)}"


def test_no_model_of_the_zoo_is_missing():
    functions = {name for module, name, _ in public(["models"]) if module == "models.zoo"}
    assert functions == set(batteries.ZOO)


def test_decoders_are_varied():
    """Each value of each option meets each kind of attention (cells, bridges, tying, depth)."""
    options = [*batteries.DECODERS.values()]
    assert len(options) == 6 + 4 * 2 * 2 + 4 * 3 * 2 + 1
    for attention, other in itertools.product(
        batteries.ATTENTIONS, [*batteries.CELLS, *batteries.BRIDGES, "tied"]
    ):
        assert any(attention in one and other in one for one in options), (attention, other)


# The decoder


@pytest.mark.parametrize("name", ANY)
def test_teacher_forcing_is_the_step_in_a_loop(name):
    model = batteries.shared(name)
    inputs, _ = batteries.batch()
    logits, alignments = batteries.known(name)
    state, memory = model.start(inputs)
    assert all(leaf.dtype == tf.float32 and leaf.shape[0] == 4 for leaf in tf.nest.flatten(state))
    for time in range(inputs["target_ids"].shape[1]):
        before = state
        output = model.step(inputs["target_ids"][:, time], state, memory)
        log_probs, state, looked = output.log_probs, output.state, output.alignments
        tf.nest.assert_same_structure(before, state)
        np.testing.assert_allclose(log_probs, tf.nn.log_softmax(logits[:, time]), **CLOSE)
        if alignments is None:
            assert looked is None
        else:
            np.testing.assert_allclose(looked, alignments[:, time], **CLOSE)
    assert log_probs.dtype == logits.dtype == np.float32
    assert (alignments is not None) == (name in WITH_ATTENTION)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_alignments_sum_to_one_and_are_zero_on_padding(name):
    inputs, _ = batteries.batch()
    alignments = batteries.known(name)[1].numpy()
    np.testing.assert_allclose(alignments.sum(-1), 1.0, rtol=1e-5)
    assert (alignments.transpose(0, 2, 1)[inputs["source_ids"] == 0] == 0).all()
    assert (alignments.transpose(0, 2, 1)[inputs["source_ids"] != 0] > 0).all()


@pytest.mark.parametrize("scale", [1.0, 25.0])
@pytest.mark.parametrize("kind", LOOKS)
def test_alignments_are_finite_in_float16(kind, scale):
    """Large energies (e to the power of them is infinite in float16) and rows of nothing but padding."""
    keras.config.set_dtype_policy("mixed_float16")
    random = np.random.default_rng(0)
    attention = batteries.ATTENTIONS[kind]()
    attention.build(8, 8)
    batteries.randomised(attention, 1.0)
    values = tf.cast(random.normal(size=(3, 5, 8)) * scale, tf.float16)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    query = tf.cast(random.normal(size=(3, 2, 8)) * scale, tf.float16)
    context, alignments, _ = attention(query, attention.memory(values, tf.constant(mask)))
    assert (context.dtype, alignments.dtype) == (tf.float16, tf.float32)
    assert np.isfinite(context).all() and np.isfinite(alignments).all()
    np.testing.assert_allclose(np.sum(alignments, -1), np.repeat([[1.0], [1.0], [0.0]], 2, 1), rtol=1e-3)
    assert not alignments.numpy()[np.repeat(~mask[:, None], 2, 1)].any()


# Padding and batches


@pytest.mark.parametrize("name", ANY)
def test_neither_padding_nor_order_changes_a_logit_the_loss_or_a_gradient(name):
    """And every trainable variable has a gradient, the embeddings of PAD excepted."""
    model = eager(batteries.shared(name))
    inputs, labels = batteries.batch()
    order = [2, 0, 3, 1]
    wide = {"source_ids": batteries.padded(inputs["source_ids"][order], 3)}
    wide["target_ids"] = batteries.padded(inputs["target_ids"][order], 2)
    real = labels[order] != 0
    found = model(wide).numpy()[:, :-2]
    np.testing.assert_allclose(batteries.known(name)[0][order][real], found[real], **CLOSE)
    loss, narrow = gradients(model, inputs, labels)
    wide_loss, wide = gradients(model, wide, batteries.padded(labels[order], 2))
    np.testing.assert_allclose(loss, wide_loss, rtol=1e-5)
    for variable, one, other in zip(model.trainable_weights, narrow, wide):
        assert one is not None and np.abs(one).max() > 0, f"no gradient: {variable.path}"
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6, err_msg=variable.path)
        if variable is model.encoder.embeddings or (
            variable is model.decoder.embeddings and not model.decoder.tied
        ):
            assert not one[PAD].any(), "a gradient at padding"


@pytest.mark.parametrize("name", ANY)
def test_a_row_is_the_same_alone(name):
    model = batteries.shared(name)
    inputs, _ = batteries.batch()
    alone = model({key: ids[3:4] for key, ids in inputs.items()})
    np.testing.assert_allclose(alone, batteries.known(name)[0][3:4], **CLOSE)


SEARCHED = [(name, strategy) for name in batteries.ZOO for strategy in batteries.STRATEGIES]


@pytest.mark.parametrize(
    "name, strategy", [pair for pair in SEARCHED if pair[0] in ("plain", "luong2015") or pair[1] == "beam"]
)
def test_neither_padding_nor_company_changes_a_hypothesis(name, strategy):
    model, strategy = batteries.searchable(name), batteries.STRATEGIES[strategy]()
    source_ids = batteries.batch(rows=6)[0]["source_ids"]
    found = batteries.search(strategy, model, source_ids)
    assert len({ids.tobytes() for ids in found.ids[:, 0].numpy()}) > 1, "the sources make no difference"
    order = [3, 0, 5, 1]
    same_hypotheses(found, batteries.search(strategy, model, batteries.padded(source_ids[order], 3)), order)
    same_hypotheses(found, batteries.search(strategy, model, source_ids[4:5]), [4])


def same_hypotheses(found, others, rows):
    """`others` are the rows of `found`, up to the width that the longest source or hypothesis asks for."""
    for field in ("lengths", "finished"):
        np.testing.assert_array_equal(getattr(others, field), getattr(found, field).numpy()[rows])
    for field in ("scores", "log_probs"):
        np.testing.assert_allclose(
            getattr(others, field), getattr(found, field).numpy()[rows], rtol=1e-5, atol=1e-6
        )
    steps = others.ids.shape[-1]
    assert not found.ids.numpy()[rows][..., steps:].any()
    np.testing.assert_array_equal(others.ids, found.ids.numpy()[rows][..., :steps])
    if found.alignments is not None:
        expected = found.alignments.numpy()[rows][:, :, :steps]
        np.testing.assert_allclose(others.alignments[..., : expected.shape[-1]], expected, **CLOSE)
        assert not np.any(others.alignments[..., expected.shape[-1] :])


@pytest.mark.parametrize("name", batteries.ZOO)
def test_graph_equals_eager_at_any_length(name):
    """One trace for all lengths."""
    model = batteries.shared(name)
    ids = tf.TensorSpec([None, None], tf.int32)
    graph = tf.function(model, input_signature=[{"source_ids": ids, "target_ids": ids}])
    for rows, source_length, target_length in [(4, 6, 5), (2, 3, 7), (1, 1, 1)]:
        inputs, _ = batteries.batch(rows, source_length, target_length)
        np.testing.assert_allclose(graph(inputs), model(inputs), **CLOSE)
    assert graph.experimental_get_tracing_count() == 1


# Precision


@pytest.mark.parametrize(
    "name, policy", [*itertools.product(batteries.ZOO, POLICIES[1:]), ("luong2015", "float32")]
)
def test_two_steps_in_each_precision(name, policy):
    """Variables stay float32, nothing becomes NaN, and what search sees is float32."""
    keras.config.set_dtype_policy(policy)
    model = batteries.ZOO[name](dropout=0.2)
    eager(model, loss=SequenceCrossEntropy(0.1)).log_gradient_norm = True
    inputs, labels = batteries.batch()
    losses = [model.train_on_batch(inputs, labels, return_dict=True)["loss"] for _ in range(2)]
    assert np.isfinite(losses).all() and losses[0] != losses[1]
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert all(np.isfinite(weight).all() for weight in model.trainable_weights)
    assert model(inputs).dtype == tf.float32
    assert model.encoder(inputs).values.dtype == policy.removeprefix("mixed_")
    state, memory = model.start(inputs)
    floating = [leaf.dtype for leaf in tf.nest.flatten((state, memory)) if leaf.dtype != tf.bool]
    assert {*floating, model.step(tf.fill([4], 2), state, memory).log_probs.dtype} == {tf.float32}


@pytest.mark.parametrize("name, policy", [("bahdanau2015", "mixed_bfloat16"), ("luong2015", "mixed_float16")])
def test_a_graph_trains_in_mixed_precision(name, policy):
    """Loops in graphs check shapes and dtypes that eager ones let pass."""
    keras.config.set_dtype_policy(policy)
    model = batteries.ZOO[name](dropout=0.2, depth=1)
    model.compile(keras.optimizers.SGD(0.5))
    inputs, labels = batteries.batch()
    losses = [float(model.train_on_batch(inputs, labels, return_dict=True)["loss"]) for _ in range(3)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


# Saving


@pytest.mark.parametrize("title", batteries.LISTS)
def test_a_configuration_makes_the_same_again(title):
    for name, make in batteries.LISTS[title].items():
        one = make()
        config = keras.saving.serialize_keras_object(one)
        copy = keras.saving.deserialize_keras_object(config)
        assert type(copy) is type(one)
        assert copy.get_config() == one.get_config(), name
        given = one.get_config()
        before = repr(given)
        type(one).from_config(given)
        assert repr(given) == before, "from_config changed what it was given"


@pytest.mark.parametrize("name", [*batteries.ZOO, *itertools.islice(batteries.DECODERS, 1, None, 11)])
def test_a_saved_model_gives_the_same_logits_and_trains_on(name, tmp_path):
    model = batteries.ZOO[name]() if name in batteries.ZOO else batteries.seq2seq(name)
    model.compile(keras.optimizers.Adam(0.01), loss=SequenceCrossEntropy(0.1), run_eagerly=True)
    inputs, labels = batteries.batch()
    model.train_on_batch(inputs, labels)
    model.save(tmp_path / "it.keras")
    loaded = keras.models.load_model(tmp_path / "it.keras")
    assert type(loaded) is Seq2Seq
    np.testing.assert_allclose(loaded(inputs), model(inputs), rtol=1e-6, atol=1e-6)
    assert loaded.loss.label_smoothing == 0.1
    assert int(loaded.optimizer.iterations) == 1
    logs = [one.train_on_batch(inputs, labels, return_dict=True) for one in (model, loaded)]
    np.testing.assert_allclose([*logs[0].values()], [*logs[1].values()], rtol=1e-5)
    for one, other in zip(model.trainable_weights, loaded.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# Learning

SYMBOLS, LONGEST = 8, 7
TEXT = functools.cache(lambda: TextProcessor.fit([" ".join(string.ascii_lowercase[:SYMBOLS])], "words"))


class CountedObjective:
    """Maximum likelihood that knows how often Python ran it: once a trace."""

    def __init__(self):
        self.calls = 0

    def __call__(self, model, batch, training):
        self.calls += 1
        return maximum_likelihood(model, batch, training)


def learn(make, task, examples, rate=0.005):
    """A generator trained on a synthetic task, the count of traces, and held-out pairs."""
    keras.utils.set_random_seed(0)
    pairs = SyntheticTask(task, min_length=2, max_length=LONGEST, symbols=SYMBOLS).pairs(
        train=examples, test=200
    )
    text, size = TEXT(), 64
    model, objective = make(text.vocab_size, text.vocab_size), CountedObjective()
    schedule = keras.optimizers.schedules.CosineDecay(rate, examples // size)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), objective=objective)
    model.fit(batches(pairs.train, text, text, batch_size=size), verbose=0)
    return TextGenerator(model, text, text, Greedy(max_length=LONGEST + 2)), objective, held_out(pairs.test)


def held_out(split):
    """Sources and references, two lists of strings."""
    return [[one.decode() for one in side] for side in zip(*split.as_numpy_iterator())]


def share_right(generator, sources, references):
    return np.mean([found == reference for found, reference in zip(generator(sources).best(), references)])


@pytest.fixture(scope="module")
def learnt():
    sizes = {"units": 48, "depth": 1, "embedding_size": 24, "dropout": 0.0}
    make = functools.partial(zoo.luong2015, bidirectional=True, input_feeding=False, **sizes)
    return learn(make, "reverse", 26_000)


@pytest.mark.learning
def test_a_tiny_model_learns_to_reverse(learnt):
    generator, _, (sources, references) = learnt
    assert share_right(generator, sources, references) >= 0.98


@pytest.mark.learning
def test_other_lengths_do_not_retrace(learnt):
    """400 batches of many shapes went by: one trace."""
    assert learnt[1].calls == 1


@pytest.mark.learning
@pytest.mark.parametrize("strategy", batteries.STRATEGIES)
def test_a_trained_models_hypotheses_depend_on_their_row_alone(learnt, strategy):
    generator, _, (sources, _) = learnt
    source_ids = generator.source_text.dense(sources[:24]).numpy()
    strategy = batteries.STRATEGIES[strategy]()
    found = batteries.search(strategy, generator.model, source_ids)
    order = np.random.default_rng(0).permutation(24)[:9]
    some = batteries.padded(source_ids[order], 2)
    same_hypotheses(found, batteries.search(strategy, generator.model, some), order)
    same_hypotheses(found, batteries.search(strategy, generator.model, source_ids[7:8]), [7])


@pytest.mark.learning
@pytest.mark.parametrize("task", ["copy", "reverse", "sort"])
@pytest.mark.parametrize("name", ["bahdanau2015", "luong2015", "gnmt"])
def test_each_model_with_attention_learns(name, task):
    sizes = {"units": 48, "depth": {"gnmt": 3}.get(name, 1), "embedding_size": 24, "dropout": 0.0}
    make, examples = functools.partial(getattr(zoo, name), **sizes), 100_000 if name == "gnmt" else 80_000
    generator, _, (sources, references) = learn(make, task, examples)
    assert share_right(generator, sources, references) >= 0.98
