"""What a training consists of: the variables of model, optimizer and metrics, and what callbacks remember.

A callback takes part by two methods, ``get_state() -> dict`` of numbers, strings, None and lists of arrays, and
``set_state(state)``, which is called when all callbacks have begun. Of Keras's own, those that watch a score are known.
"""

import inspect
import numbers

import keras
import numpy as np

from tf_seq2seq.errors import InputError

_WATCHING = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.ModelCheckpoint,
)


def training_variables(model):
    """The variables that a step reads and changes, seeds of dropout included; metrics aside.

    Keras's `save_weights` leaves the seeds out.

    Args:
        model: a compiled Keras model, built; its optimizer is built if it was not.

    Returns:
        dict of lists of variables: "model" and "optimizer" (learning rate, iterations, slots, averages, loss scale).
    """
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    return {"model": model.variables, "optimizer": model.optimizer.variables}


def variable_arrays(model):
    """The values of `training_variables`: a dict of arrays by kind, number and path."""
    return {
        f"{kind}/{number}/{variable.path}": variable.numpy()
        for kind, variables in training_variables(model).items()
        for number, variable in enumerate(variables)
    }


def restore_variables(model, arrays):
    """Puts values of `variable_arrays` back.

    Args:
        model: a model like that of which the values are.
        arrays: dict of arrays.

    Raises:
        InputError: if they are of another model or optimizer; the model is left as it is.
    """
    pairs = []
    for kind, variables in training_variables(model).items():
        saved = [(name.split("/", 2)[2], value) for name, value in arrays.items() if _of(name, kind)]
        for number in range(max(len(saved), len(variables))):
            there, here = (one[number] if number < len(one) else None for one in (saved, variables))
            _check(kind, there, here)
            pairs.append((here, there[1]))
    for variable, value in pairs:
        variable.assign(value.view(variable.numpy().dtype))  # NumPy stores bfloat16 as bytes


def _of(name, kind):
    return name.split("/", 1)[0] == kind


def _check(kind, there, here):
    """Refuses a saved value (path, array) that is not that of a variable."""
    told = "nothing" if there is None else f"{there[0]} {there[1].shape}"
    want = "nothing" if here is None else f"{here.path} {tuple(here.shape)}"
    alike = there is not None and here is not None and there[1].shape == tuple(here.shape)
    if alike and kind == "model":  # names of optimizers' variables hold those of layers, which Keras numbers
        alike = there[0].rsplit("/", 1)[-1] == here.name
    if not alike:
        raise InputError(
            f"the checkpoint is of another {kind}: it has {told} where this one has {want}; build both as they were "
            "when it was written, or give Resume another folder"
        )


def metric_arrays(model):
    """The values of the metrics' variables: a dict of arrays by metric and number."""
    return {name: variable.numpy() for name, variable in _metric_variables(model).items()}


def restore_metrics(model, arrays, add=False):
    """Puts values of `metric_arrays` back.

    Args:
        model: the model.
        arrays: dict of arrays.
        add: whether they are added to what metrics hold, as is right for metrics that counted on in between.

    Returns:
        dict of those arrays whose metrics do not exist yet: Keras makes some in the first step.
    """
    variables = _metric_variables(model)
    for name in arrays.keys() & variables.keys():
        variables[name].assign(arrays[name] + variables[name].numpy() if add else arrays[name])
    return {name: value for name, value in arrays.items() if name not in variables}


def _metric_variables(model):
    return {
        f"metrics/{metric.name}/{number}": variable
        for metric in model.metrics
        for number, variable in enumerate(metric.variables)
    }


def callback_states(callbacks):
    """What callbacks remember.

    Args:
        callbacks: list of callbacks.

    Returns:
        facts: dict by class and number of what JSON can write; arrays: dict of arrays.
    """
    facts, arrays = {}, {}
    for name, one in _taking_part(callbacks):
        state = one.get_state() if hasattr(one, "get_state") else _numbers(one)
        facts[name] = {key: value for key, value in state.items() if not isinstance(value, list)}
        for key, values in state.items():
            if isinstance(values, list):
                arrays.update({f"callbacks/{name}/{key}/{number}": one for number, one in enumerate(values)})
    return facts, arrays


def restore_callbacks(callbacks, facts, arrays):
    """Gives callbacks back what they remembered; those that had said that training is over say so again.

    Args:
        callbacks: list of callbacks; those of which nothing is known stay as they are.
        facts, arrays: what `callback_states` gave.
    """
    for name, one in _taking_part(callbacks):
        if name not in facts:
            continue
        state = {**facts[name]}
        for path, value in arrays.items():
            if path.startswith(f"callbacks/{name}/"):
                state.setdefault(path.split("/")[2], []).append(value)
        if hasattr(one, "set_state"):
            one.set_state(state)
            continue
        vars(one).update(state)
        if isinstance(one, keras.callbacks.EarlyStopping) and one.stopped_epoch and one.wait >= one.patience:
            one.model.stop_training = True


def _taking_part(callbacks):
    counts = {}
    for one in callbacks:
        kind = type(one).__name__
        counts[kind] = counts.get(kind, -1) + 1
        if hasattr(one, "set_state") or isinstance(one, _WATCHING):
            yield f"{kind}-{counts[kind]}", one


def _numbers(callback):
    """The attributes that are numbers, or weights, and not arguments: those are the user's to change."""
    arguments = {*inspect.signature(type(callback).__init__).parameters, "params"}
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(callback).items()
        if name not in arguments and not name.startswith("_") and _is_state(value)
    }


def _is_state(value):
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, np.ndarray) for one in value)
    return value is None or isinstance(value, numbers.Number)
