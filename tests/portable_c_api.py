"""Runs a SavedModel through TensorFlow's C API and nothing else, as a server in C++ does; `test_export_portable.py`
starts it::

    python portable_c_api.py FOLDER REQUEST.json    prints the outputs as JSON

REQUEST.json has `libraries` (files, in the order of loading), `operations` (TF-Text's libraries), `inputs`, a list of
[tensor's name, dtype, shape, flat list of values], and `outputs`, a list of tensors' names.
"""

import ctypes
import json
import math
import sys

FLOAT, INT32, STRING, INT64, BOOL = 1, 3, 7, 9, 10  # TF_DataType
NUMBERS = {FLOAT: ctypes.c_float, INT32: ctypes.c_int32, INT64: ctypes.c_int64, BOOL: ctypes.c_bool}
TSTRING = 24  # bytes of a TF_TString
POINTERS = """TF_NewStatus TF_Message TF_NewGraph TF_NewSessionOptions TF_LoadLibrary TF_LoadSessionFromSavedModel
TF_GraphOperationByName TF_AllocateTensor TF_TensorData TF_StringGetDataPointer"""


class Output(ctypes.Structure):
    """TF_Output: an operation and the number of its output."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Api:
    """The functions of the shared library; an error raises."""

    def __init__(self, libraries):
        *_, self.library = [ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in libraries]
        for name in POINTERS.split():
            getattr(self.library, name).restype = ctypes.c_void_p
        self.library.TF_StringGetSize.restype = ctypes.c_size_t
        self.library.TF_Dim.restype = ctypes.c_int64
        self.status = pointer(self.library.TF_NewStatus())

    def __getattr__(self, name):
        return getattr(self.library, name)

    def checked(self, function, *arguments):
        result = function(*arguments, self.status)
        if self.TF_GetCode(self.status):
            raise RuntimeError(ctypes.string_at(self.TF_Message(self.status)).decode())
        return result


def pointer(value):
    return ctypes.c_void_p(value)


def load(api, folder):
    """The graph and the session of a SavedModel."""
    graph, options = pointer(api.TF_NewGraph()), pointer(api.TF_NewSessionOptions())
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = api.checked(
        api.TF_LoadSessionFromSavedModel, options, None, folder.encode(), tags, 1, graph, None
    )
    return graph, pointer(session)


def output(api, graph, name):
    operation, _, index = name.partition(":")
    return Output(api.TF_GraphOperationByName(graph, operation.encode()), int(index))


def tensor(api, dtype, shape, values):
    """A TF_Tensor of a flat list of values."""
    size = TSTRING if dtype == STRING else ctypes.sizeof(NUMBERS[dtype])
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    made = pointer(api.TF_AllocateTensor(dtype, dimensions, len(shape), ctypes.c_size_t(size * len(values))))
    data = api.TF_TensorData(made)
    if dtype != STRING:
        ctypes.memmove(data, (NUMBERS[dtype] * len(values))(*values), size * len(values))
        return made
    for number, value in enumerate(values):
        place, value = pointer(data + number * TSTRING), value.encode()
        api.TF_StringInit(place)
        api.TF_StringCopy(place, value, ctypes.c_size_t(len(value)))
    return made


def values(api, made):
    """The shape and the values of a TF_Tensor."""
    made = pointer(made)
    dtype, shape = api.TF_TensorType(made), [api.TF_Dim(made, axis) for axis in range(api.TF_NumDims(made))]
    data, count = api.TF_TensorData(made), math.prod(shape)
    if dtype != STRING:
        return shape, list((NUMBERS[dtype] * count).from_address(data)) if count else []
    places = [pointer(data + number * TSTRING) for number in range(count)]
    text = lambda place: ctypes.string_at(api.TF_StringGetDataPointer(place), api.TF_StringGetSize(place))
    return shape, [text(place).decode() for place in places]


def run(api, graph, session, inputs, outputs):
    """One call of the session."""
    feeds = (Output * len(inputs))(*[output(api, graph, name) for name, *_ in inputs])
    fed = (ctypes.c_void_p * len(inputs))(*[tensor(api, *rest).value for _, *rest in inputs])
    fetches = (Output * len(outputs))(*[output(api, graph, name) for name in outputs])
    fetched = (ctypes.c_void_p * len(outputs))()
    counts = len(inputs), len(outputs)
    arguments = [session, None, feeds, fed, counts[0], fetches, fetched, counts[1], None, 0, None]
    api.checked(api.TF_SessionRun, *arguments)
    return [values(api, one) for one in fetched]


def main(folder, request):
    with open(request, encoding="utf-8") as file:
        request = json.load(file)
    api = Api(request["libraries"])
    for path in request["operations"]:
        api.checked(api.TF_LoadLibrary, path.encode())
    print(json.dumps(run(api, *load(api, folder), request["inputs"], request["outputs"])))
    assert not {"tensorflow", "numpy", "keras"} & set(sys.modules)


if __name__ == "__main__":
    main(*sys.argv[1:])
