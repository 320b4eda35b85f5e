import importlib

import pytest

from skal.utils._deprecation import moved

MOVED = [
    ("skal.neural_network", "skal.views", ["NetView", "find_net", "has_net", "unwrap"]),
    ("skal.neural_network", "skal.views", ["predictor_inputs"]),
    ("skal.utils", "skal.neural_network", ["best_device"]),
    (
        "skal.utils.estimator_checks",
        "skal.testing",
        ["check_batch_selector", "check_query_strategy", "query_strategy_checks"],
    ),
]


@pytest.mark.parametrize("old, new, names", MOVED)
def test_old_places_work_and_say_where_the_new_one_is(old, new, names):
    for name in names:
        with pytest.warns(DeprecationWarning, match=f"import {name} from {new}"):
            found = getattr(importlib.import_module(old), name)
        assert found is getattr(importlib.import_module(new), name)


def test_other_names_are_as_unknown_as_ever():
    with pytest.raises(AttributeError, match="module 'somewhere' has no attribute 'nothing'"):
        moved("somewhere", {})("nothing")
