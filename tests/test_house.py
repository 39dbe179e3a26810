"""What holds for the whole package: who imports whom, what is public, how it is described and saved."""

import ast
import enum
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tf_seq2seq

PACKAGE = Path(tf_seq2seq.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = [(module, name) for module, names in tf_seq2seq._PUBLIC.items() for name in names]
ROOMS = [
    "data",
    "layers",
    "models",
    "decoding",
    "evaluation",
    "training",
    "export",
    "interop",
    "serving",
]  # top to bottom
ON_TOP = {"cli", "__main__", "commands"}  # they import any room; no room imports them
NO_CONCEPT = {"utils", "common", "helpers", "core", "base"}
LONGEST_MODULE = 350  # lines
INTERNAL = {
    "data.cleaning.Cleaner",
    "data.cleaning.SeenHashes",
    "data.splitting.HeldOut",
    "decoding.beam_search.Beam",
    "decoding.constraints.Switched",
    "decoding.diverse_beam_search.Groups",
    "decoding.stochastic_beam_search.Drawn",
}  # no user makes one
KERAS_HOOKS = {"get_config", "from_config"}  # Keras describes them
THIN_IMPORT = ["tensorflow", "keras", "numpy", "tensorflow_text"]  # what `import tf_seq2seq` leaves alone


def rooms_imported(path):
    """Rooms and top-level modules of the package that a file imports, anywhere in it, with the line."""
    home = ["tf_seq2seq", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) + 1 - node.level] if node.level else []
            base = ".".join(start + ([node.module] if node.module else []))
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            if parts[0] == "tf_seq2seq" and len(parts) > 1:
                yield parts[1], node.lineno


def public(module, name):
    return getattr(importlib.import_module(f"tf_seq2seq.{module}"), name)


def public_objects(wanted):
    """(module, name) of the public names whose values are classes or functions, as `wanted` says."""
    return [(module, name) for module, name in PUBLIC if wanted(public(module, name))]


def own_parameters(value):
    """Parameters by name; ``*args`` and ``**kwargs`` are passed on to who describes them."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one for one in inspect.signature(value).parameters.values() if one.kind not in variable]


def own_methods(cls):
    return [
        (name, member)
        for name, member in vars(cls).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]


def has_own_docstring(thing):
    """NamedTuples and dataclasses without one get their signature as the docstring: that does not count."""
    text = (vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__) or ""
    return bool(text.strip()) and not text.startswith(f"{thing.__name__}(")


def test_imports_go_one_way():
    """A module imports from its own room and from rooms above it; nothing imports the command line."""
    breaches = []
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for imported, line in rooms_imported(path):
            below = room in ROOMS and imported in ROOMS and ROOMS.index(imported) > ROOMS.index(room)
            if below or (imported in ON_TOP and room not in ON_TOP):
                breaches.append(f"{path.relative_to(PACKAGE)}:{line} imports {imported}")
    assert not breaches, breaches


def test_the_walk_sees_every_form_of_import(tmp_path, monkeypatch):
    """The check above can fail: absolute, relative and local imports from a room below are all found."""
    source = "import tf_seq2seq.export.x\nfrom tf_seq2seq import training\nfrom ..serving import client\n"
    source += "def f():\n    from tf_seq2seq.models.seq2seq import Seq2Seq\n"
    room = tmp_path / "data"
    room.mkdir()
    (room / "a.py").write_text(source)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert [name for name, _ in rooms_imported(room / "a.py")] == ["export", "training", "serving", "models"]


def test_every_folder_is_a_room():
    folders = {path.relative_to(PACKAGE).parts[0] for path in MODULES if path.parent != PACKAGE}
    assert folders <= set(ROOMS) | ON_TOP


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_is_short_documented_and_has_a_concept(path):
    text = path.read_text(encoding="utf8")
    assert len(text.splitlines()) < LONGEST_MODULE
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert not NO_CONCEPT & set(path.relative_to(PACKAGE).with_suffix("").parts)


def test_room_inits_hold_a_docstring_only():
    inits = [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE]
    assert [path for path in inits if len(ast.parse(path.read_text(encoding="utf8")).body) != 1] == []


@pytest.mark.parametrize("module, name", PUBLIC, ids=lambda part: part)
def test_public_name_can_be_used_and_is_described(module, name):
    value = getattr(tf_seq2seq, name)
    assert value is public(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == f"tf_seq2seq.{module}", "the lazy list names another module"
        assert has_own_docstring(value), f"{name} has no docstring"


def test_public_names_are_listed_once():
    names = [name for _, name in PUBLIC]
    assert sorted(names) == sorted(set(names)) == sorted(tf_seq2seq.__all__)


def test_no_public_class_is_missing_from_the_package():
    """A class without an underscore, defined in a module that gives public names, is public itself."""
    classes = []
    for module in tf_seq2seq._PUBLIC:
        tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf8"))
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        classes += [f"{module}.{name}" for name in names if not name.startswith("_")]
    public_names = {f"{module}.{name}" for module, name in PUBLIC}
    assert not set(classes) - public_names - INTERNAL
    assert set(classes) >= INTERNAL, "the list names a class that is gone"


def test_public_functions_and_classes_tell_their_arguments():
    """``Args:`` (``Fields:`` in a NamedTuple) where there are arguments; ``Returns:`` in functions."""
    silent = []
    for module, name in public_objects(lambda value: inspect.isclass(value) or inspect.isfunction(value)):
        value = public(module, name)
        if inspect.isclass(value) and issubclass(value, (Exception, enum.Enum)):
            continue
        text = inspect.getdoc(value) or ""
        if own_parameters(value) and not any(f"{head}:" in text for head in ("Args", "Fields")):
            silent.append(f"{module}.{name}: Args")
        if inspect.isfunction(value) and not any(f"{head}:" in text for head in ("Returns", "Yields")):
            silent.append(f"{module}.{name}: Returns")
    assert not silent, silent


def test_public_methods_have_docstrings():
    silent = []
    for module, name in public_objects(inspect.isclass):
        cls = public(module, name)
        for method, function in own_methods(cls):
            hook = method in KERAS_HOOKS or any(hasattr(parent, method) for parent in cls.__mro__[1:])
            if not function.__doc__ and not hook:
                silent.append(f"{module}.{name}.{method}")
    assert not silent, silent


def test_what_keras_can_save_is_registered_as_ours():
    """Whatever has a `get_config` comes back from a file without `custom_objects`."""
    import keras

    savable = public_objects(lambda value: inspect.isclass(value) and hasattr(value, "get_config"))
    assert savable
    for module, name in savable:
        cls = public(module, name)
        assert keras.saving.get_registered_name(cls) == f"tf_seq2seq>{name}", (
            f"{module}.{name} is not registered"
        )
        assert keras.saving.get_registered_object(f"tf_seq2seq>{name}") is cls


def test_import_is_thin():
    """`--help` is instant and a client needs no TensorFlow: the package loads what is used, then."""
    program = f"import sys, tf_seq2seq; print([name for name in {THIN_IMPORT} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
