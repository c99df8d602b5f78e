# SPDX-License-Identifier: GPL-2.0-only
"""The agent out of its bundle, as a VM runs it: it answers as it does from its files, and reads hardly any other."""

import dataclasses
import inspect
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from drive_vm import prepare
from hypothesis import given
from hypothesis import strategies as st

from bisector.agent import records
from bisector.agent.plan import Layer, Plan, Result, Step
from bisector.codec import load
from bisector.trial import bundle
from bisector.trial.workspace import guest_python

PLAN = Plan(
    steps=(Step("say", "run", argv=("sh", "-c", "echo $BISECTOR_SEED; exit 3")),),
    layers=(Layer("img", "file", "raw", size=4096),),
    vm=False,
    token="t0k",
    seed=7,
)
PYTHON = guest_python()
SHOW = """
import sys, os
files = lambda: [m for m in list(sys.modules.values()) if getattr(m, '__file__', None) and m.__file__.endswith('.py')]
before = {m.__name__ for m in files()}
def end(code):
    for name in list(sys.meta_path[0]._modules):
        __import__(name)
    print('READ', sorted({m.__name__ for m in files()} - before)) or sys.exit(code)
os._exit = end
sys.argv = sys.argv[1:]
import marshal
with open(sys.argv[0], 'rb') as file:
    exec(marshal.loads(file.read()[16:]), {'__name__': '__main__'})
"""


def put(folder: Path) -> Path:
    shared = prepare(PLAN, folder)
    subprocess.run([PYTHON, "-I", "-S", bundle.__file__, str(shared)], check=True)
    return shared


def start(folder: Path, main: str) -> tuple[Result, str]:
    shared = put(folder)
    argv = [PYTHON, "-I", "-S", str(shared / main), str(shared)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stderr, ended.returncode) == ("", 0)
    return load(Result, (shared / "result.json").read_bytes()), ended.stdout


def without_times(result: Result) -> Result:
    steps = tuple(dataclasses.replace(step, started=0.0, ended=0.0) for step in result.steps)
    layers = tuple(dataclasses.replace(layer, node="") for layer in result.layers)
    return dataclasses.replace(result, elapsed=0.0, steps=steps, layers=layers)


def test_it_answers_as_the_agent_from_its_files(tmp_path: Path) -> None:
    bundled, files = start(tmp_path / "one", "agent.pyc"), start(tmp_path / "other", "bisector/agent/main.py")
    assert without_times(bundled[0]) == without_times(files[0])
    assert bundled[1] == files[1]
    assert bundled[0].complete


def test_no_python_file_is_read_beside_it(tmp_path: Path) -> None:
    """A missing one would only be slow, so nobody would see it: of the standard library all that a trial loads."""
    shared = put(tmp_path)
    argv = [PYTHON, "-I", "-S", "-c", SHOW, str(shared / "agent.pyc"), str(shared)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "READ []" in ended.stdout, ended


def test_a_fault_of_the_agent_names_its_place(tmp_path: Path) -> None:
    shared = put(tmp_path)
    (shared / "plan.json").unlink()
    (shared / "plan.json").mkdir()
    (shared / "result.json.tmp").mkdir()
    (shared / "result.json").mkdir()
    argv = [PYTHON, "-I", "-S", str(shared / "agent.pyc"), str(shared)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert 'File "bisector/agent/session.py", line ' in ended.stderr


# ---- records, which stands in for dataclasses there


def made(module: ModuleType, frozen: bool) -> tuple[type, type]:
    class Base:
        one: int
        two: tuple[int, ...] = (2,)

    class Derived(module.dataclass(frozen=frozen)(Base)):  # type: ignore[misc]
        three: object = module.field(default=3, compare=False)
        four: object = module.field(default_factory=list, repr=False)

        @property
        def five(self) -> int:
            return 5

    return Base, module.dataclass(frozen=frozen)(Derived)


def outcome(call: object, *args: object, **named: object) -> object:
    """What a call gives, or the kind of its error."""
    try:
        return call(*args, **named)  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


VALUES = st.one_of(st.integers(0, 2), st.text(max_size=2), st.tuples(st.integers(0, 1)), st.none())
NAMES = st.dictionaries(st.sampled_from(["one", "two", "three", "four", "five"]), VALUES)


@given(st.lists(VALUES, max_size=5), NAMES, NAMES, st.booleans())
def test_records_do_what_dataclasses_do(
    args: list[object], named: dict[str, object], changes: dict[str, object], frozen: bool
) -> None:
    seen = []
    for module in (dataclasses, records):
        base, kind = made(module, frozen)
        instance = outcome(kind, *args, **named)
        facts: list[object] = [repr(instance), [one.name for one in module.fields(kind)]]
        if isinstance(instance, kind):
            facts += [
                module.asdict(instance),
                repr(outcome(module.replace, instance, **changes)),
                instance == kind(*args, **named),
                instance == outcome(module.replace, instance, **changes),
                isinstance(outcome(hash, instance), int),
                instance == base(1),
                outcome(setattr, instance, "one", 9),
                outcome(delattr, instance, "two"),
                module.is_dataclass(instance),
                module.is_dataclass(kind),
                module.is_dataclass(1),
            ]
        seen.append(facts)
    assert seen[0] == seen[1]


def test_nothing_of_the_agent_needs_more_of_dataclasses_than_records_has() -> None:
    folder = Path(inspect.getfile(records)).parent
    text = "\n".join(
        path.read_text() for place in (folder, folder.with_name("layers")) for path in place.glob("*.py")
        if path.name != "records.py"
    )  # fmt: skip
    for name in ("kw_only", "slots=", "order=", "__post_init__", "InitVar", "ClassVar", "astuple", "make_dataclass"):
        assert name not in text
    assert "@dataclass(frozen=True)" in text


@pytest.mark.parametrize("frozen", [True, False])
def test_an_own_method_stays(frozen: bool) -> None:
    for module in (dataclasses, records):

        class Own:
            one: int = 1

            def __repr__(self) -> str:
                return "own"

            def __eq__(self, other: object) -> bool:
                return True

        kind = module.dataclass(frozen=frozen)(Own)
        assert (repr(kind()), kind() == 1) == ("own", True)
        assert (outcome(hash, kind()) == "TypeError") is not frozen
