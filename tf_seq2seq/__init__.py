"""Recurrent sequence-to-sequence models for TensorFlow and Keras 3.

Everything public is a name of this package, loaded when first used, so that importing the package is instant:

>>> import tf_seq2seq
>>> "BeamSearch" in dir(tf_seq2seq)
True
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "data.vocabulary": ["Vocabulary", "PAD", "UNK", "START", "END"],
    "data.text": ["TextProcessor"],
    "data.word_spans": ["WordSpans", "word_spans"],
    "data.preparing": ["Pairs"],
    "data.corpora": ["text_pairs", "tsv_pairs", "tfds_pairs", "translate_folder_pairs"],
    "data.index_corpora": ["index_pairs", "INDEX_CORPORA", "IndexCorpus"],
    "data.cleaning": ["Cleaning"],
    "data.splitting": ["Limits"],
    "data.mixing": ["mixed", "weighted"],
    "data.noise": ["WordDropout", "TokenDeletion", "SwitchOut", "LocalShuffle"],
    "data.pipeline": ["batches"],
    "data.shards": ["Shards", "write_shards"],
    "data.dealing": ["each_its_own"],
    "data.word_alignments": ["WordAlignments"],
    "data.synthetic": ["SyntheticTask", "SYNTHETIC_TASKS"],
    "layers.attention": ["DotAttention", "GeneralAttention", "AdditiveAttention", "FixedContext"],
    "layers.attention_wrapper": ["AttentionWrapper"],
    "layers.cells": ["LSTMCell", "GRUCell"],
    "layers.stacked_cells": ["StackedCells"],
    "layers.unroll": ["unroll"],
    "layers.bridges": ["ZeroBridge", "CopyBridge", "DenseBridge"],
    "models.contracts": ["EncoderOutput", "StepOutput"],
    "models.encoders": ["RNNEncoder"],
    "models.decoders": ["RNNDecoder"],
    "models.seq2seq": ["Seq2Seq"],
    "models.scheduled_sampling": [
        "ScheduledSampling",
        "LinearTeacher",
        "ExponentialTeacher",
        "InverseSigmoidTeacher",
    ],
    "models.sampled_softmax": ["SampledSoftmax"],
    "models.adaptive_softmax": ["AdaptiveSoftmax"],
    "models.zoo": ["plain", "sutskever2014", "cho2014", "bahdanau2015", "luong2015", "gnmt"],
    "decoding.hypotheses": ["Hypotheses"],
    "decoding.conditions": ["Conditions"],
    "decoding.penalties": ["LengthPenalty"],
    "decoding.coverage": ["CoveragePenalty"],
    "decoding.constraints": ["NoRepeatNGrams", "RepetitionPenalty", "Banned", "AllowedTokens"],
    "decoding.trie": ["Trie"],
    "decoding.greedy": ["Greedy"],
    "decoding.beam_search": ["BeamSearch"],
    "decoding.diverse_beam_search": ["DiverseBeamSearch"],
    "decoding.stochastic_beam_search": ["StochasticBeamSearch"],
    "decoding.sampling": ["Sampling"],
    "decoding.ensemble": ["Ensemble"],
    "decoding.shortlist": ["Shortlist", "Shortlisted"],
    "models.searching": ["searchable"],
    "layers.precision": ["fastest_weights"],
    "decoding.scoring": ["Scored"],
    "decoding.generator": ["TextGenerator"],
    "decoding.generated": ["GeneratedText", "GeneratedSentence"],
    "decoding.unknowns": ["UnknownReplacement"],
    "evaluation.scores": [
        "corpus_bleu",
        "corpus_chrf",
        "sentence_bleu",
        "rouge",
        "exact_match",
        "Score",
        "Bleu",
        "Rouge",
    ],
    "evaluation.information": ["perplexity", "bits_per_token", "entropy", "unigram_entropy"],
    "evaluation.diversity": [
        "Diversity",
        "diversity",
        "distinct",
        "repetition_rate",
        "ngram_entropy",
        "self_bleu",
        "length_ratio",
    ],
    "evaluation.teacher_forced": ["likelihood", "output_entropy", "Likelihood"],
    "evaluation.evaluate": ["evaluate", "Evaluation"],
    "evaluation.invariance": ["batch_invariance", "Invariance", "InvarianceRun", "InvarianceFault"],
    "evaluation.alignments": ["plot_alignments", "plot_generated"],
    "training.losses": ["SequenceCrossEntropy"],
    "training.r_drop": ["RDrop"],
    "training.guided_alignment": ["GuidedAlignment"],
    "training.schedules": ["Warmup", "InverseSquareRootSchedule", "noam_schedule"],
    "training.precision": ["fastest_policy"],
    "training.averaging": ["MovingAverage", "WeightHistory", "average_weights", "averaged"],
    "training.batch_size": ["largest_batch", "BatchSize"],
    "training.gates": ["gate_shares", "gradient_norms"],
    "training.budget": ["TimeBudget"],
    "training.checkpoints": ["BestModel", "Resume"],
    "training.guard": ["DivergenceGuard"],
    "training.vocabulary_update": ["with_vocabulary"],
    "training.monitor": ["Monitor"],
    "export.saved_model": ["export_saved_model"],
    "export.lite": ["export_lite", "LiteGenerator"],
    "errors": ["InputError"],
}
_MODULE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [*_MODULE]


def __getattr__(name):
    if name not in _MODULE:
        raise AttributeError(f"module 'tf_seq2seq' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tf_seq2seq.{_MODULE[name]}"), name)


def __dir__():
    return [*globals(), *__all__]
