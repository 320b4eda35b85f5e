"""``import skal`` loads next to nothing, and nobody can tell otherwise."""

import pickle
import subprocess
import sys

import pytest

import skal


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_loads_no_torch_until_it_is_needed():
    heavy = "len({'torch', 'numpy', 'sklearn', 'pandas'} & set(sys.modules))"
    assert run(f"import sys, skal; print({heavy}); skal.ActiveLearner; print({heavy} > 1)") == [
        "0",
        "True",
    ]


def test_rooms_are_attributes_as_before():
    assert run(
        "import skal; print(skal.strategies.BADGE.__name__, skal.metrics.auca.__name__, "
        "skal.learner.ActiveLearner is skal.ActiveLearner)"
    ) == ["BADGE", "auca", "True"]
    assert run("from skal import *; print(ActiveLearner.__module__, callable(show_versions))") == [
        "skal.learner",
        "True",
    ]


def test_dir_and_unknown_names():
    assert set(skal.__all__) <= set(dir(skal))
    assert {"strategies", "selection", "__version__", "__doc__"} <= set(dir(skal))
    with pytest.raises(AttributeError, match="module 'skal' has no attribute 'Activelearner'"):
        skal.Activelearner  # noqa: B018
    assert not hasattr(skal, "__wrapped__")


def test_pickles_go_by_the_module_of_the_class():
    code = "import skal, pickle; print(pickle.dumps(skal.ActiveLearner(None)).hex())"
    (text,) = run(code)
    learner = pickle.loads(bytes.fromhex(text))
    assert type(learner) is skal.ActiveLearner
    assert pickle.loads(pickle.dumps(skal.ActiveLearner)) is skal.ActiveLearner
