"""Going on with another vocabulary: tokens known before keep what was learnt of them.

Shapes: **V** vocabulary, **E** embedding size, **D** feature size.
"""

import numpy as np

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.errors import InputError

_ORDINARY = END + 1  # the first id of a token of the vocabulary's own


def with_vocabulary(model, source=None, target=None):
    """A model for other vocabularies that goes on where `model` is, its optimizer included.

    Rows of the embeddings (V, E) and of the projection (V, D) and its bias (V,) are mapped by token, and so are the
    optimizer's slots (momentum, velocity, moving average); all other variables, and the number of steps, are copied. A
    new token begins as the mean of the old ordinary ones, in its weights and in its slots alike. As a logit is linear in
    these rows, it then is as likely as the geometric mean of the old tokens, less than the average token, so that
    what the model says of the old ones hardly changes; rows drawn at random would have been as likely as any.

    >>> from tf_seq2seq.data.vocabulary import Vocabulary
    >>> from tf_seq2seq.models import zoo
    >>> old, new = Vocabulary(["el", "gato"]), Vocabulary(["gato", "perro", "el"])
    >>> model = zoo.plain(len(old), len(old), units=4)
    >>> updated = with_vocabulary(model, target=(old, new))
    >>> updated.decoder.vocab_size, np.allclose(updated.decoder.embeddings[4], model.decoder.embeddings[5])
    (7, True)

    Args:
        model: a `Seq2Seq`, compiled or not.
        source, target: (old, new), each a `Vocabulary` or a `TextProcessor`; None where the vocabulary stays.

    Returns:
        a new `Seq2Seq`, compiled as `model` was; an objective is taken over as it is, its own vocabulary too.

    Raises:
        InputError: if an old vocabulary is not of the model's size, for the target of an adaptive softmax, or for an
            optimizer whose slots are not of their variable's shape (Adafactor).

    Source: Hewitt, "Initializing New Word Embeddings for Pretrained Language Models" (2021), for the mean;
        `update_vocab` of OpenNMT-tf gives new tokens weights as in a new model.
    """
    config, rows = model.get_config(), {}
    if target is not None and model.decoder.adaptive is not None:
        raise InputError(
            "the clusters of an adaptive softmax are those of one vocabulary: update the source's only, or train anew"
        )
    for name, layer, pair in [("source", "encoder", source), ("target", "decoder", target)]:
        if pair is not None:
            rows[name] = _rows(name, *pair, getattr(model, layer).vocab_size)
            config[layer]["config"]["vocab_size"] = len(rows[name])
    new = type(model).from_config(config)
    of_variable = {id(variable): rows[name] for name in rows for variable in _of_vocabulary(model, name)}
    for to, variable in zip(new.variables, model.variables, strict=True):
        _copy(to, variable, of_variable.get(id(variable)))
    if getattr(model, "optimizer", None) is not None:
        _compile(new, model, of_variable)
    return new


def _rows(name, old, new, size):
    """For each id of the new vocabulary that of the old one, (V,) int; -1 for a new token."""
    old, new = (getattr(one, "vocabulary", one) for one in (old, new))
    if len(old) != size:
        raise InputError(
            f"the old {name} vocabulary has {len(old)} tokens, but the model has {size}: give the one it was made for"
        )
    places = {token: place for place, token in enumerate(old.tokens)}
    return np.array([places.get(token, -1) for token in new.tokens])


def _of_vocabulary(model, name):
    """The variables with a row for each token of the source or of the target."""
    if name == "source":
        return [model.encoder.embeddings]
    names = ("embeddings", "projection_kernel", "projection_bias")
    return [getattr(model.decoder, one) for one in names if hasattr(model.decoder, one)]


def _mapped(values, rows):
    """Rows of values (V, ...) for a new vocabulary, the mean of the ordinary ones for new tokens."""
    mean = values[_ORDINARY:].mean(axis=0) if len(values) > _ORDINARY else values.mean(axis=0)
    known = (rows >= 0).reshape(-1, *[1] * (values.ndim - 1))
    return np.where(known, values[rows], mean).astype(values.dtype)


def _copy(to, variable, rows):
    values = variable.numpy()
    to.assign(values if rows is None else _mapped(values, rows))


def _compile(new, model, of_variable):
    new.compile_from_config(model.get_compile_config())
    new.objective = model.objective
    if not model.optimizer.built:
        return
    slots = {}  # Keras names a slot by the path of its variable
    for variable in model.trainable_variables:
        slots[variable.path.replace("/", "_")] = variable
    for to, slot in zip(new.optimizer.variables, model.optimizer.variables, strict=True):
        variable = _variable_of(slot, slots)
        if slot.shape != (() if variable is None else variable.shape):
            raise InputError(
                f"cannot map {slot.path} to another vocabulary: {type(model.optimizer).__name__}'s slots are not of "
                "their variable's shape; compile the model with a new optimizer first, or train with Adam"
            )
        _copy(to, slot, of_variable.get(id(variable)))


def _variable_of(slot, names):
    """The variable whose slot it is: that of the longest name which its own begins with."""
    fits = [name for name in names if slot.name.startswith(f"{name}_")]
    return names[max(fits, key=len)] if fits else None
