"""Every public layer, model and strategy, with how to make a tiny one; `test_invariants.py` runs over these lists.

A new public class goes into its list here: a test fails until it does.

Shapes: **B** batch, **S** source length, **T** target length, **V** vocabulary.
"""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import of_sources
from tf_seq2seq.decoding.constraints import AllowedTokens, Banned, NoRepeatNGrams, RepetitionPenalty
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.diverse_beam_search import DiverseBeamSearch
from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.decoding.stochastic_beam_search import StochasticBeamSearch
from tf_seq2seq.decoding.trie import Trie
from tf_seq2seq.decoding.unknowns import UnknownReplacement
from tf_seq2seq.layers.attention import AdditiveAttention, DotAttention, FixedContext, GeneralAttention
from tf_seq2seq.layers.attention_wrapper import AttentionWrapper
from tf_seq2seq.layers.bridges import CopyBridge, DenseBridge, ZeroBridge
from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.stacked_cells import StackedCells
from tf_seq2seq.models import zoo
from tf_seq2seq.models.adaptive_softmax import AdaptiveSoftmax
from tf_seq2seq.models.decoders import RNNDecoder
from tf_seq2seq.models.encoders import RNNEncoder
from tf_seq2seq.models.sampled_softmax import SampledSoftmax
from tf_seq2seq.models.scheduled_sampling import (
    ExponentialTeacher,
    InverseSigmoidTeacher,
    LinearTeacher,
    ScheduledSampling,
)
from tf_seq2seq.models.seq2seq import Seq2Seq
from tf_seq2seq.training.guided_alignment import GuidedAlignment
from tf_seq2seq.training.losses import SequenceCrossEntropy
from tf_seq2seq.training.r_drop import RDrop
from tf_seq2seq.training.schedules import InverseSquareRootSchedule, Warmup

SOURCE_V, TARGET_V = 13, 11
UNITS, EMBEDDING, READOUT = 4, 5, 6  # all different, so that no two can be mixed up unseen

CELLS = {
    "lstm": lambda: LSTMCell(UNITS),
    "gru": lambda: GRUCell(UNITS),
    "gru_v1": lambda: GRUCell(UNITS, reset_after=False),
}
ATTENTIONS = {
    "dot": DotAttention,
    "general": GeneralAttention,
    "additive": lambda: AdditiveAttention(3),
    "fixed": lambda: FixedContext(3),
}
BRIDGES = {"copy": CopyBridge, "zero": ZeroBridge, "dense": DenseBridge}
WRAPPERS = {
    "cells": lambda: AttentionWrapper(StackedCells([LSTMCell(UNITS), LSTMCell(UNITS)], 0.1, residual_from=1)),
    "after": lambda: AttentionWrapper(StackedCells([GRUCell(UNITS)]), GeneralAttention(), input_feeding=True),
    "before": lambda: AttentionWrapper(
        StackedCells([GRUCell(UNITS)]), FixedContext(3), "before", readout_size=READOUT, every_layer=True
    ),
}
ENCODERS = {
    "lstm": {},
    "gru both ways": {"cell": "gru", "bidirectional": True},
    "gru_v1 backwards": {"cell": "gru_v1", "reverse_source": True},
    "deep": {"depth": 3, "residual_from": 1, "bidirectional": "first"},
    "deep both ways": {"depth": 2, "residual_from": 0, "bidirectional": True, "embedding_size": UNITS},
}
ZOO = {
    "plain": lambda **sizes: tiny(zoo.plain, **sizes),
    "sutskever2014": lambda **sizes: tiny(zoo.sutskever2014, **{"depth": 2} | sizes),
    "cho2014": lambda **sizes: tiny(zoo.cho2014, **sizes),
    "bahdanau2015": lambda **sizes: tiny(zoo.bahdanau2015, **sizes),
    "luong2015": lambda **sizes: tiny(zoo.luong2015, **{"depth": 2} | sizes),
    "gnmt": lambda **sizes: tiny(zoo.gnmt, **{"depth": 3} | sizes),
}
STRATEGIES = {
    "greedy": lambda: Greedy(max_length=7),
    "beam": lambda: BeamSearch(beam_size=3, max_length=7),
    "diverse beam": lambda: DiverseBeamSearch(beam_size=4, groups=2, max_length=7),
    "sampling": lambda: Sampling(samples=2, top_p=0.9, max_length=7),
    "stochastic beam": lambda: StochasticBeamSearch(beam_size=3, max_length=7),
    "constrained": lambda: BeamSearch(3, "sockeye", 7, min_length=2, constraints=[CONSTRAINTS["n-grams"]()]),
}
CONSTRAINTS = {
    "n-grams": lambda: NoRepeatNGrams(2, exclude=[5]),
    "repetition": lambda: RepetitionPenalty(1.3),
    "banned": lambda: Banned([4, [5, 6]]),
    "trie": lambda: Trie([[4, 5], [4, 6, 7]]),
    "allowed": lambda: AllowedTokens(only_even),
}


@keras.saving.register_keras_serializable("tests")
def only_even(ids, time, width):
    """A function for `AllowedTokens`."""
    return (tf.range(width) % 2 == 0)[None]


OBJECTIVES = {
    "scheduled sampling": lambda: ScheduledSampling(InverseSigmoidTeacher(2.0), "likeliest", seed=3),
    "scheduled at once": lambda: ScheduledSampling(LinearTeacher(0.1, 0.8, 0.1), exact=False),
    "half a teacher": lambda: ScheduledSampling(0.5),
    "r-drop": lambda: RDrop(alpha=3.0),
    "sampled softmax": lambda: SampledSoftmax(samples=3, seed=2),
    "guided alignment": lambda: GuidedAlignment(0.5, "squared_error", decay_steps=10),
}
OTHERS = {  # what Keras can save besides
    "ensemble": lambda: Ensemble([ZOO["luong2015"](), ZOO["plain"]()], [0.7, 0.3], combine="probs"),
    "unknowns": lambda: UnknownReplacement({"gato": "cat"}),
    "coverage penalty": lambda: CoveragePenalty("summary", beta=0.3, stepwise=True),
    "length penalty": lambda: LengthPenalty("average", alpha=0.7),
    "adaptive softmax": lambda: AdaptiveSoftmax(TARGET_V, (5, 8)),
    "loss": lambda: SequenceCrossEntropy(label_smoothing=0.1),
    "inverse square root": lambda: InverseSquareRootSchedule(1e-3, warmup_steps=7),
    "linear teacher": lambda: LinearTeacher(0.1, 0.9, 0.2),
    "exponential teacher": lambda: ExponentialTeacher(0.9),
    "inverse sigmoid teacher": lambda: InverseSigmoidTeacher(5.0),
    "warm-up": lambda: Warmup(keras.optimizers.schedules.CosineDecay(1e-3, 100), steps=7),
}


def tiny(function, **sizes):
    """A model of the zoo without dropout, its weights large enough for outputs to differ."""
    sizes = {"units": UNITS, "depth": 1, "embedding_size": EMBEDDING, "dropout": 0.0} | sizes
    return randomised(function(SOURCE_V, TARGET_V, **sizes))


def randomised(layer, scale=0.6, seed=3):
    """The layer itself, its weights drawn anew: those that start at 0 tell nothing."""
    random = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(random.normal(size=weight.shape) * scale)
    return layer


def _decoder_options():
    """Options of `RNNDecoder` by name: every attention, place, feeding, readout and `every_layer` that go together.

    Cell, depth, residual, bridge and tying take turns in cycles of 3, 5 and 7, so that they meet one another.
    """
    after = itertools.product(ATTENTIONS, ["after"], ["attentional", "maxout"], ["", "fed"], [""])
    before = itertools.product(ATTENTIONS, ["before"], ["attentional", "maxout", None], [""], ["", "every"])
    cells = itertools.cycle(CELLS)
    shapes = itertools.cycle([(1, None), (3, None), (2, 1), (1, None), (3, 2)])
    ends = itertools.cycle([*itertools.product(["copy", "zero", "dense"], ["", "tied"]), ("dense", "tied")])
    plain = [(None, "after", None, "", "")] * 6
    for choice in [*plain, *after, *before]:
        cell, (depth, residual), (bridge, tied) = next(cells), next(shapes), next(ends)
        if choice[0] is None and bridge == "zero":  # such a decoder knows nothing of the source
            bridge = "dense"
        parts = [*choice, cell, f"depth {depth}", residual and f"residual {residual}", bridge, tied]
        yield " ".join(part for part in parts if part), (*choice, cell, depth, residual, bridge, tied)
    adaptive = ("additive", "after", "attentional", "fed", "", "lstm", 1, None, "dense", "adaptive")
    yield " ".join(str(part) for part in adaptive if part), adaptive


DECODERS = dict(_decoder_options())


def seq2seq(name, **encoder_options):
    """A `Seq2Seq` around the decoder called `name` in `DECODERS`."""
    attention, position, readout, fed, every, cell, depth, residual, bridge, projection = DECODERS[name]
    tied = projection == "tied"
    equal = bridge == "copy" or attention == "dot"
    decoder = RNNDecoder(
        TARGET_V,
        UNITS,
        depth=depth,
        cell=cell,
        attention=attention and ATTENTIONS[attention](),
        bridge=BRIDGES[bridge](),
        embedding_size=UNITS if tied and not readout else EMBEDDING,
        residual_from=residual,
        tied=tied,
        adaptive=(5, 8) if projection == "adaptive" else None,
        position=position,
        input_feeding=bool(fed),
        readout=readout,
        readout_size=readout and (EMBEDDING if tied else READOUT),
        every_layer=bool(every),
    )
    both_ways = not equal and attention != "fixed"  # a fixed context reads the forward half
    options = {"depth": depth if bridge == "copy" else 1, "cell": cell, "bidirectional": both_ways}
    encoder = RNNEncoder(SOURCE_V, UNITS if equal else 6, embedding_size=3, **options | encoder_options)
    return randomised(Seq2Seq(encoder, decoder))


@functools.cache
def shared(name):
    """A model of `DECODERS` or `ZOO`, made once; for tests that leave its weights alone."""
    return seq2seq(name) if name in DECODERS else ZOO[name]()


def batch(rows=4, source_length=5, target_length=4, seed=0):
    """A batch of random ids with rows of all lengths, right-padded: ``(inputs, labels)``, int32."""
    random = np.random.default_rng(seed)

    def ids(length, vocab_size):
        lengths = np.maximum(length - np.arange(rows) % length, 1)
        inside = np.arange(length) < lengths[:, None]
        drawn = random.integers(4, vocab_size, (rows, length))
        drawn[np.arange(rows), lengths - 1] = END
        return np.where(inside, drawn, 0).astype("int32")

    labels = ids(target_length, TARGET_V)
    shifted = np.concatenate([np.full((rows, 1), START, "int32"), labels[:, :-1]], axis=1)
    target_ids = np.where(labels != PAD, shifted, PAD)
    return {"source_ids": ids(source_length, SOURCE_V), "target_ids": target_ids}, labels


@functools.cache
def known(name):
    """What a `shared` model says of `batch()`: logits (4, 4, V) and alignments (4, 4, 5) or None, once for all tests."""
    model, (inputs, _) = shared(name), batch()
    return model(inputs).numpy(), model.alignments(inputs)


@functools.cache
def searchable(name):
    """A model of `ZOO` whose hypotheses differ from source to source and end at some time."""
    model = randomised(ZOO[name](units=8), scale=1.5, seed=2)
    for weight in model.trainable_weights:
        if "bias" in weight.path:  # what is the same for all sources
            weight.assign(tf.zeros_like(weight))
    model.decoder.projection_bias.assign(tf.one_hot(END, TARGET_V))
    return model


def padded(ids, columns):
    """(B, T) -> (B, T + columns), PAD at the end."""
    return np.pad(ids, [(0, 0), (0, columns)])


def search(strategy, model, source_ids):
    """`Hypotheses` of a batch of sources."""
    state, memory = model.start({"source_ids": source_ids})
    return strategy(model.step, state, memory, len(source_ids), of_sources(tf.constant(source_ids)))


def public_objects():
    """What the lists hold, one instance of each entry, by (list, name)."""
    made = {}
    for title, battery in LISTS.items():
        for name, make in battery.items():
            made[title, name] = make()
    return made


LISTS = {
    "cells": CELLS,
    "attentions": ATTENTIONS,
    "bridges": BRIDGES,
    "wrappers": WRAPPERS,
    "stacks": {
        "stack": lambda: StackedCells([LSTMCell(UNITS), LSTMCell(UNITS)], dropout=0.1, residual_from=1)
    },
    "encoders": {
        name: functools.partial(RNNEncoder, SOURCE_V, UNITS, **options) for name, options in ENCODERS.items()
    },
    "decoders": {name: lambda name=name: shared(name).decoder for name in DECODERS},
    "zoo": {name: lambda name=name: shared(name) for name in ZOO},
    "strategies": STRATEGIES,
    "constraints": CONSTRAINTS,
    "objectives": OBJECTIVES,
    "others": OTHERS,
}
