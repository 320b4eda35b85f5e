"""Checks that every public estimator, strategy and selector must pass."""

import importlib
import inspect
import pickle
import pkgutil

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_get_feature_names_out_error,
    check_global_output_transform_pandas,
    check_global_set_output_transform_polars,
    check_param_validation,
    check_set_output_transform,
    check_set_output_transform_pandas,
    check_set_output_transform_polars,
    check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas,
    parametrize_with_checks,
)

import skal
from skal.strategies import QueryStrategy
from skal.testing import check_batch_selector, query_strategy_checks
from tests._instances import (
    AUGMENTATIONS,
    CRITERIA,
    ESTIMATORS,
    EXPECTED_FAILURES,
    ORACLES,
    PREPROCESSORS,
    SELECTORS,
    STRATEGIES,
)

ABSTRACT = {"QueryStrategy", "SelectingStrategy", "BatchSelector", "StoppingCriterion"}


def _public_classes():
    """Every estimator class that a public package of skal exports."""
    packages = [skal]
    for module in pkgutil.iter_modules(skal.__path__, "skal."):
        if not module.name.split(".")[-1].startswith("_"):
            packages.append(importlib.import_module(module.name))
    found = {}
    for package in packages:
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            if inspect.isclass(value) and issubclass(value, BaseEstimator):
                found[name] = value
    return found


def test_every_public_estimator_is_in_the_list():
    instances = [*ESTIMATORS, *SELECTORS, *AUGMENTATIONS, *ORACLES, *CRITERIA]
    covered = {type(instance).__name__ for instance in instances}
    public = _public_classes()
    assert len(public) >= 14
    assert set(public) - covered - ABSTRACT == set()


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: type(oracle).__name__)
def test_oracles_are_cloned_and_keep_their_parameters(oracle):
    X, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
    given = oracle.get_params()
    twin = clone(oracle)
    assert twin is not oracle
    assert twin.get_params() == given
    assert twin.fit(X, y) is twin
    assert twin.get_params() == given
    pickle.loads(pickle.dumps(twin))


def test_every_public_name_has_a_docstring_of_its_own():
    for module in pkgutil.walk_packages(skal.__path__, "skal."):
        if any(part.startswith("_") for part in module.name.split(".")[1:]):
            continue
        package = importlib.import_module(module.name)
        assert package.__doc__, module.name
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            if inspect.isclass(value):
                assert len(vars(value).get("__doc__") or "") > 80, name
            elif inspect.isfunction(value):
                assert len(value.__doc__ or "") > 80, name


@parametrize_with_checks(
    ESTIMATORS, expected_failed_checks=lambda e: EXPECTED_FAILURES.get(type(e).__name__, {})
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [*ESTIMATORS], ids=repr)
@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_parameters_and_column_names(estimator, check):
    if type(estimator).__name__ in EXPECTED_FAILURES and check is check_param_validation:
        pytest.skip("skorch's parameters hold modules and criteria; the nets check them in fit")
    check(type(estimator).__name__, clone(estimator))


# These checks fit on frames and transform arrays, and the other way round, on purpose.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("strategy", [*STRATEGIES, *PREPROCESSORS], ids=repr)
@pytest.mark.parametrize(
    "check",
    [
        check_set_output_transform,
        check_set_output_transform_pandas,
        check_set_output_transform_polars,
        check_global_output_transform_pandas,
        check_global_set_output_transform_polars,
        check_transformer_get_feature_names_out,
        check_transformer_get_feature_names_out_pandas,
        check_get_feature_names_out_error,
    ],
)
def test_transform_output(strategy, check):
    check(type(strategy).__name__, clone(strategy))


def _all_strategy_checks():
    for strategy in STRATEGIES:
        for check in query_strategy_checks(strategy):
            yield pytest.param(check, id=f"{strategy!r}-{check.__name__}")


@pytest.mark.parametrize("check", list(_all_strategy_checks()))
def test_query_strategy_contract(check):
    check()


@pytest.mark.filterwarnings("ignore:KDPP. the rows of Z have rank:UserWarning")
@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_batch_selector_contract(selector):
    check_batch_selector(selector)


def test_every_strategy_declares_its_tags():
    for strategy in STRATEGIES:
        assert isinstance(strategy, QueryStrategy)
        assert strategy._query_tags is not QueryStrategy._query_tags, type(strategy).__name__
