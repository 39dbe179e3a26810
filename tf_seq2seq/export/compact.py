"""A SavedModel's graph without what it says twice; what it computes stays the same.

Tracing writes a constant wherever one is used and reads sizes of tensors again and again, and names are the path of all
loops and branches around them: about two thirds of the bytes of a search's graph. Functions keep their names, and so do
the operations in them that make a resource, which is found by its name.
"""

import itertools

from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

# What gives the same for the same and does nothing else. Values of other operations are as often computed twice, but
# it is these that there are many of.
_PURE = """
    Add AddV2 BroadcastTo Cast ConcatV2 Const Equal ExpandDims FloorDiv FloorMod GatherV2 Greater GreaterEqual Identity Less
    LessEqual LogicalAnd LogicalNot LogicalOr Maximum Minimum Mul Neg NotEqual Pack Prod Range Rank Reshape Select SelectV2
    Shape Size Slice Squeeze StridedSlice Sub Sum Tile Transpose Unpack ZerosLike
"""
_PURE = frozenset(_PURE.split())
_KEPT = ("Assert", "HashTableV2", "SentencepieceOp", "VarHandleOp")
_SHAPES = "_output_shapes"  # what shape inference finds anew


def compact(path):
    """Rewrites a file ``saved_model.pb`` in place.

    Args:
        path: the file.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(path.read_bytes())
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            _compact(function)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _compact(function):
    """One function: equal nodes are one, none is there for nothing, and names are short."""
    _rename(function, _merged(function))
    _keep(function, _needed(function))
    arguments = {argument.name for argument in function.signature.input_arg}
    kept = {node.name for node in function.node_def if node.op in _KEPT}
    numbers = (f"n{number}" for number in itertools.count())
    free = (name for name in numbers if name not in arguments and name not in kept)
    _rename(function, {node.name: next(free) for node in function.node_def if node.name not in kept})


def _merged(function):
    """Takes out nodes that are equal to earlier ones; gives for their names the earlier ones'."""
    first, same, kept = {}, {}, []
    for node in function.node_def:
        node.attr.pop(_SHAPES, None)
        node.ClearField("experimental_debug_info")
        node.input[:] = [_named(one, same) for one in node.input]
        key = _content(node) if node.op in _PURE else node.name
        same[node.name] = first.setdefault(key, node.name)
        if same[node.name] == node.name:
            kept.append(node)
    _keep(function, kept)
    return same


def _content(node):
    attributes = sorted(
        (name, value.SerializeToString(deterministic=True)) for name, value in node.attr.items()
    )
    return node.op, node.device, tuple(node.input), tuple(attributes)


def _needed(function):
    """The nodes that results or other operations than pure ones hang on."""
    nodes = {node.name: node for node in function.node_def}
    ends = [*function.ret.values(), *function.control_ret.values()]
    waiting = [_owner(one) for one in ends] + [node.name for node in nodes.values() if node.op not in _PURE]
    needed = set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in needed:
            needed.add(name)
            waiting += map(_owner, nodes[name].input)
    return [node for node in function.node_def if node.name in needed]


def _keep(function, nodes):
    nodes = [node_def_pb2.NodeDef.FromString(node.SerializeToString()) for node in nodes]
    del function.node_def[:]
    function.node_def.extend(nodes)


def _rename(function, names):
    """Gives nodes other names, everywhere."""
    for node in function.node_def:
        node.name = names.get(node.name, node.name)
        node.input[:] = [_named(one, names) for one in node.input]
    for ends in (function.ret, function.control_ret):
        for name, value in [*ends.items()]:
            ends[name] = _named(value, names)


def _owner(value):
    """The node of ``node:output:0``, ``^node`` or ``argument``."""
    return value.removeprefix("^").partition(":")[0]


def _named(value, names):
    owner = _owner(value)
    return value.replace(owner, names.get(owner, owner), 1)
