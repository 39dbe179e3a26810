"""Subword models of SentencePiece (unigram or BPE): training and checking. Running them is `pieces`' part."""

import io
import re

from tf_seq2seq.data.vocabulary import END, PAD, START, UNK, Vocabulary
from tf_seq2seq.errors import InputError

UNKNOWN = "⁇"
"""What stands in a text for the token UNK."""


def train_subwords(
    sentences,
    vocab_size,
    *,
    algorithm="unigram",
    normalize=True,
    character_coverage=1.0,
    byte_fallback=False,
    sentence_limit=1_000_000,
):
    """Trains a subword model; the same sentences give the same bytes, on any number of cores.

    Args:
        sentences: an iterable of strings, read once; what is held in memory is `sentence_limit` of them.
        vocab_size: V, exactly, the four special tokens counted.
        algorithm: "unigram" or "bpe".
        normalize: whether the model itself applies SentencePiece's rule nmt_nfkc (NFKC, control characters
            and white space tidied) to what it reads.
        character_coverage: the share of the text's characters that get a token of their own; the rest is UNK
            or, with `byte_fallback`, bytes. Take 0.9995 for Chinese or Japanese and for noisy text of the
            web.
        byte_fallback: adds 256 tokens for bytes, so that nothing is UNK.
        sentence_limit: a sample of this many sentences (more than 100), drawn uniformly, is trained on.

    Returns:
        bytes, the content of a ``sentencepiece.model`` file.

    Raises:
        InputError: if the sentences allow no model of this size; the message says which sizes they allow.

    Source: Kudo and Richardson, "SentencePiece" (2018); Kudo, "Subword Regularization" (2018), section 3.2.
    """
    import sentencepiece

    if algorithm not in ("unigram", "bpe"):
        raise InputError(f'algorithm is "unigram" or "bpe", not {algorithm!r}')
    if sentence_limit <= 100:
        raise InputError(f"sentence_limit is more than 100, not {sentence_limit}: take the default")
    sentencepiece.set_random_generator_seed(0)  # it draws the sample
    model, failures = io.BytesIO(), []
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_watched(sentences, failures),
            model_writer=model,
            model_type=algorithm,
            vocab_size=vocab_size,
            normalization_rule_name="nmt_nfkc" if normalize else "identity",
            character_coverage=character_coverage,
            byte_fallback=byte_fallback,
            input_sentence_size=sentence_limit,
            shuffle_input_sentence=True,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=START,
            eos_id=END,
            pad_piece="<pad>",
            unk_surface=UNKNOWN,
            num_threads=4,  # the number is part of the model's bytes
            minloglevel=2,
        )
    except RuntimeError as error:
        if failures:
            raise failures[0] from None
        raise InputError(_advice(str(error), vocab_size)) from error
    return model.getvalue()


def subword_vocabulary(model, name="the subword model"):
    """The pieces of a subword model.

    Args:
        model: bytes, the content of a ``sentencepiece.model`` file, ours or another's.
        name: what to call it in an error's message.

    Returns:
        A `Vocabulary`.

    Raises:
        InputError: if it is no such model, or ids 0-3 are not PAD UNK START END.
    """
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        size = len(processor) if model else 0
    except RuntimeError:
        size = 0
    if not size:
        raise InputError(
            f"{name} is damaged or not of SentencePiece: fit the processor again, or copy it anew"
        )
    ids = processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()
    if ids != (PAD, UNK, START, END):
        raise InputError(
            f"{name} has PAD UNK START END at ids {ids}, but 0 1 2 3 are needed: train it with "
            "pad_id=0, unk_id=1, bos_id=2, eos_id=3"
        )
    return Vocabulary(processor.id_to_piece(list(range(END + 1, size))))


def check_sampling(model, alpha):
    """Raises an `InputError` if no segmentation can be drawn from a subword model with this alpha."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec

    kind = ModelProto.FromString(model).trainer_spec.model_type
    if kind not in (TrainerSpec.UNIGRAM, TrainerSpec.BPE):
        raise InputError("only unigram and BPE models are sampled, and this subword model is neither")
    if kind == TrainerSpec.BPE and not 0 <= alpha <= 1:
        raise InputError(f"alpha of a BPE model is a share of merges in [0, 1], not {alpha}; 0.1 is usual")
    if not 0 <= alpha < float("inf"):
        raise InputError(f"alpha of a unigram model is a number of at least 0, not {alpha}; 0.2 is usual")


def _watched(sentences, failures):
    try:
        yield from sentences
    except Exception as error:
        failures.append(error)  # the trainer would hide it behind a RuntimeError
        raise


def _advice(message, vocab_size):
    if limit := re.search(r"too high .*<= (\d+)", message):
        return f"vocab_size {vocab_size} is too large for these sentences: set it to {limit[1]} or less"
    if limit := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocab_size {vocab_size} is too small for the characters of these sentences: set it to more "
            f"than {limit[1]}, or lower character_coverage"
        )
    if "sentences_.empty()" in message:
        return "there is no sentence to train a subword model on: is the file empty?"
    return f"SentencePiece cannot train on these sentences: {' '.join(message.split())}"
