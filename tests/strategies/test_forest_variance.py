"""ForestVariance: what it asks of which rows, and which rows it serves."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skal import ActiveLearner
from skal.strategies import ForestVariance


def regression(n=80, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 4)
    return X, X[:, 0] * X[:, 1] + 0.1 * rng.randn(n)


def classification(n=120, n_classes=3):
    return make_classification(
        n, n_features=5, n_informative=4, n_redundant=0, n_classes=n_classes, random_state=0
    )


def kernel(strategy, rows, others):
    """Share of trees in which two rows share a leaf, from the trees themselves."""
    leaves = [strategy._forest.apply(strategy._inputs(X)) for X in (rows, others)]
    return (leaves[0][:, None] == leaves[1][None]).mean(2)


def test_transform_is_the_posterior_variance_of_the_forest_kernel():
    X, y = classification()
    strategy = ForestVariance(n_estimators=20, random_state=0).fit(X[:30], y[:30])
    K = kernel(strategy, X[:30], X[:30]) + 0.1 * np.eye(30)
    k = kernel(strategy, X[30:], X[:30])
    expected = 1 - np.einsum("ij,jk,ik->i", k, np.linalg.inv(K), k)
    np.testing.assert_allclose(strategy.transform(X[30:])[:, 0], expected, atol=1e-5)


def test_scores_are_gains_weighted_by_the_margin_of_the_forest():
    X, y = classification()
    strategy = ForestVariance(n_estimators=20, random_state=0).fit(X[:30], y[:30])
    pool = X[30:]
    rows, scores = strategy.query(pool, 1, return_scores=True)
    M = np.linalg.inv(kernel(strategy, X[:30], X[:30]) + 0.1 * np.eye(30))
    k = kernel(strategy, pool, X[:30])
    C = kernel(strategy, pool, pool) - k @ M @ k.T
    P = np.sort(strategy._forest.predict_proba(strategy._inputs(pool)), axis=1)
    u = 1 - (P[:, -1] - P[:, -2])
    gains = (u / u.sum()) @ C**2 / (np.diag(C) + 0.1)
    np.testing.assert_allclose(scores, gains, atol=1e-5)
    assert rows[0] == np.argmax(gains)


def test_regression_mixes_forest_and_matern_kernel():
    X, y = regression()
    strategy = ForestVariance(n_estimators=20, random_state=0).fit(X[:30], y[:30])

    def both(rows, others):
        Z = [
            strategy._inputs(part).astype(float) * strategy._scales.numpy()
            for part in (rows, others)
        ]
        s = np.sqrt(3) * np.sqrt(((Z[0][:, None] - Z[1][None]) ** 2).sum(2))
        return 0.5 * kernel(strategy, rows, others) + 0.5 * (1 + s) * np.exp(-s)

    noise = strategy._posterior.noise
    assert 0.02 <= noise <= 1.0
    K = both(X[:30], X[:30]) + noise * np.eye(30)
    k = both(X[30:], X[:30])
    expected = 1 - np.einsum("ij,jk,ik->i", k, np.linalg.inv(K), k)
    np.testing.assert_allclose(strategy.transform(X[30:])[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("data", [regression, classification])
def test_the_order_of_the_pool_does_not_matter(data):
    X, y = data()
    strategy = ForestVariance(n_estimators=20, random_state=0).fit(X[:30], y[:30])
    pool, order = X[30:], np.random.RandomState(1).permutation(len(X) - 30)
    rows = strategy.query(pool, 8)
    shuffled = strategy.query(pool[order], 8)
    assert order[shuffled].tolist() == rows.tolist()


def test_a_large_pool_is_asked_in_pieces_about_a_sample():
    X, y = regression(20_000)
    strategy = ForestVariance(n_estimators=5, n_targets=50, random_state=0).fit(X[:30], y[:30])
    assert len(np.unique(strategy.query(X, 5))) == 5
    alone = np.concatenate([strategy.transform(part) for part in np.array_split(X, 7)])
    np.testing.assert_allclose(strategy.transform(X), alone, atol=1e-5)


def test_it_asks_where_the_target_varies():
    """Only x0 matters, and the labels hold none of its right half."""
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.rand(300), 10 * rng.rand(300)])
    y = np.sin(6 * X[:, 0])
    labeled = np.flatnonzero(X[:, 0] < 0.5)[:30]
    learner = ActiveLearner(Ridge(), ForestVariance(), random_state=0).fit(X[labeled], y[labeled])
    assert (X[learner.query(X, 5), 0] > 0.5).all()


def test_targets_are_those_the_predictor_is_trained_on():
    """Through a logarithm, the same trees grow as on logarithms."""
    X, y = regression()
    y = np.exp(3 * y)
    model = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), Ridge()), func=np.log, inverse_func=np.exp
    ).fit(X[:30], y[:30])
    through = ForestVariance(FrozenEstimator(model), random_state=0).fit(X[:30], y[:30])
    plain = ForestVariance(random_state=0).fit(X[:30], np.log(y[:30]))
    np.testing.assert_allclose(through.transform(X), plain.transform(X), atol=1e-5)


def test_the_task_is_that_of_the_estimator():
    X, _ = regression()
    y = np.arange(80) % 3
    alone = ForestVariance(random_state=0).fit(X, y)
    plugged = ForestVariance(FrozenEstimator(LinearRegression().fit(X, y)), random_state=0)
    assert alone._is_classifier
    assert not plugged.fit(X, y)._is_classifier


def test_several_outputs():
    X, y = regression()
    one = ForestVariance(random_state=0).fit(X[:30], y[:30]).transform(X)
    two = ForestVariance(random_state=0).fit(X[:30], np.column_stack([y, y])[:30]).transform(X)
    # The splits of trees tie otherwise where two outputs are summed.
    assert np.corrcoef(one[:, 0], two[:, 0])[0, 1] > 0.98
    classes = np.column_stack([y > 0, X[:, 0] > 0]).astype(int)
    model = ExtraTreesClassifier(10, random_state=0)
    learner = ActiveLearner(model, ForestVariance(margin_from=50), random_state=0)
    for n in (30, 60):
        assert len(learner.fit(X[:n], classes[:n]).query(X[n:], 5)) == 5


# ---------------------------------------------------------------------- changing over to margins


def test_with_many_labels_the_margin_of_the_estimator_decides():
    X, y = classification()
    model = LogisticRegression().fit(X[:60], y[:60])
    strategy = ForestVariance(FrozenEstimator(model), margin_from=60, random_state=0)
    strategy.fit(X[:60], y[:60])
    P = np.sort(model.predict_proba(X[60:]), axis=1)
    margins = P[:, -1] - P[:, -2]
    np.testing.assert_allclose(strategy.transform(X[60:])[:, 0], -margins, atol=1e-6)
    assert strategy.query(X[60:], 5).tolist() == np.argsort(margins)[:5].tolist()
    fewer = strategy.fit(X[:59], y[:59]).transform(X[60:])
    assert (fewer >= 0).all()


def test_without_probabilities_the_margin_is_that_of_the_forest():
    X, y = classification()
    strategy = ForestVariance(
        FrozenEstimator(LinearSVC().fit(X[:60], y[:60])), margin_from=60, random_state=0
    ).fit(X[:60], y[:60])
    P = np.sort(strategy._forest.predict_proba(strategy._inputs(X[60:])), axis=1)
    np.testing.assert_allclose(strategy.transform(X[60:])[:, 0], P[:, -2] - P[:, -1], atol=1e-6)


def test_regression_never_changes_over():
    X, y = regression()
    strategy = ForestVariance(margin_from=10, random_state=0).fit(X[:30], y[:30])
    assert (strategy.transform(X) >= 0).all()


# ---------------------------------------------------------------------- few or odd labels


@pytest.mark.parametrize("y", [np.zeros(20), np.full(20, "a"), np.ones(20, dtype=int)])
def test_equal_labels_leave_trees_without_labels(y):
    X, _ = regression()
    strategy = ForestVariance(random_state=0).fit(X[:20], y)
    rows, scores = strategy.query(X[20:], 10, return_scores=True)
    assert len(np.unique(rows)) == 10
    assert len(np.unique(scores.round(6))) > 10  # rows are told apart all the same


def test_one_labelled_row_and_constant_columns():
    X, y = regression()
    X = np.column_stack([X, np.full(len(X), 3.0)])
    assert len(np.unique(ForestVariance(random_state=0).fit(X[:1], y[:1]).query(X, 5))) == 5
    constant = np.ones((20, 2))
    strategy = ForestVariance(random_state=0).fit(constant, y[:20])
    assert len(np.unique(strategy.query(constant, 5))) == 5


def test_duplicates_of_a_row_are_not_asked_about_together():
    X, y = regression()
    pool = np.repeat(X[30:], 5, axis=0)
    rows = ForestVariance(random_state=0).fit(X[:30], y[:30]).query(pool, 10)
    assert len(np.unique(rows // 5)) >= 9


def test_labels_are_needed_and_must_be_there():
    X, y = regression()
    with pytest.raises(ValueError, match="requires y to be passed"):
        ForestVariance().fit(X)
    y[3] = np.nan
    with pytest.raises(ValueError, match="1 of 80 rows without a label"):
        ForestVariance().fit(X, y)


# ---------------------------------------------------------------------- before any label


def test_before_any_label_the_medoid_comes_first():
    X, _ = regression()
    learner = ActiveLearner(Ridge(), ForestVariance(), random_state=0)
    rows = learner.query(X, 6)
    Z = StandardScaler().fit_transform(X)
    assert rows[0] == np.argmin(np.linalg.norm(Z[:, None] - Z[None], axis=2).mean(1))
    assert len(np.unique(rows)) == 6


def test_before_any_label_clusters_are_all_met():
    rng = np.random.RandomState(0)
    centres = np.array([[0, 0], [6, 0], [0, 6], [6, 6]])
    X = np.repeat(centres, 20, axis=0) + 0.3 * rng.randn(80, 2)
    rows = ActiveLearner(Ridge(), ForestVariance(), random_state=0).query(X, 4)
    assert sorted(rows // 20) == [0, 1, 2, 3]


# ---------------------------------------------------------------------- all kinds of rows


def frame(n=60):
    rng = np.random.RandomState(0)
    X = pd.DataFrame(
        {
            "size": rng.rand(n),
            "kind": rng.choice(["flat", "house", None], n),
            "zone": pd.Categorical(rng.choice(["a", "b"], n)),
            "sold": pd.date_range("2026-01-01", periods=n).astype(str),
        }
    )
    X.loc[3, "size"] = np.nan
    return X


def test_frames_of_mixed_columns():
    X = frame()
    y = X["size"].fillna(0.5) + (X["kind"] == "flat")
    strategy = ForestVariance(random_state=0).fit(X[:30], y[:30])
    assert len(np.unique(strategy.query(X[30:], 10))) == 10
    cold = ForestVariance(random_state=0).fit_pool(X)
    assert len(np.unique(cold.query(X, 10))) == 10


def test_columns_that_the_model_does_not_see_do_not_count():
    X, y = regression(60)
    names = pd.DataFrame(X, columns=list("abcd")).assign(key=[f"row {i}" for i in range(60)])
    chosen = make_column_transformer(("passthrough", list("abcd")))
    models = Ridge(), make_pipeline(chosen, Ridge())
    plain = ActiveLearner(models[0], ForestVariance(), random_state=0)
    with_key = ActiveLearner(models[1], ForestVariance(), random_state=0)
    assert plain.query(X, 6).tolist() == with_key.query(names, 6).tolist()
    plain.fit(X[:30], y[:30])
    with_key.fit(names[:30], y[:30])
    assert plain.query(X[30:], 6).tolist() == with_key.query(names[30:], 6).tolist()


def test_indicators_stay_as_they_are():
    X = np.column_stack([np.arange(20.0), np.arange(20) == 3, np.ones(20)])
    strategy = ForestVariance(random_state=0).fit(X, X[:, 0] + 0.5)
    Z = strategy._inputs(X)
    assert Z[:, 1].tolist() == X[:, 1].tolist()
    assert Z[:, 2].tolist() == [0.0] * 20
    assert strategy._inputs(pd.DataFrame(X)).tolist() == Z.tolist()


def test_images_are_taken_pixel_by_pixel():
    X, y = regression(60)
    images = X.reshape(60, 1, 2, 2)
    flat = ForestVariance(random_state=0).fit(X[:30], y[:30]).query(X[30:], 5)
    rows = ForestVariance(random_state=0).fit(images[:30], y[:30]).query(images[30:], 5)
    assert rows.tolist() == flat.tolist()


def test_sparse_rows_are_made_dense_unless_too_wide():
    X, y = regression(60)
    flat = ForestVariance(random_state=0).fit(X[:30], y[:30]).query(X[30:], 5)
    wide = sparse.csr_array((60, 10_000_000))
    for container in (sparse.csr_matrix, sparse.csr_array, sparse.csc_array):
        S = container(X)
        rows = ForestVariance(random_state=0).fit(S[:30], y[:30]).query(S[30:], 5)
        assert rows.tolist() == flat.tolist()
    with pytest.raises(ValueError, match="TruncatedSVD"):
        ForestVariance().fit(wide, y)
    short = ForestVariance(preprocessor=TruncatedSVD(2)).fit(sparse.csr_array(X)[:30], y[:30])
    assert short.transform(sparse.csr_array(X)).shape == (60, 1)


def test_texts_are_seen_through_the_pipeline_or_a_preprocessor():
    texts = [f"{'good' if i % 2 else 'bad'} word{i % 7} thing{i % 5}" for i in range(60)]
    y = np.arange(60) % 2
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    learner = ActiveLearner(model, ForestVariance(), random_state=0)
    assert len(learner.query(texts, 5)) == 5
    assert len(learner.fit(texts[:30], y[:30]).query(texts[30:], 5)) == 5
    prepare = make_pipeline(TfidfVectorizer(), TruncatedSVD(4))
    alone = ForestVariance(preprocessor=prepare, random_state=0).fit(texts[:30], y[:30])
    assert len(alone.query(texts[30:], 5)) == 5
    with pytest.raises(TypeError, match="Got list instead. Put what makes a table"):
        ForestVariance().fit(texts, y)


def test_missing_values_are_refused_where_the_model_could_not_learn_them():
    X, y = regression()
    learner = ActiveLearner(Ridge(), ForestVariance(), random_state=0).fit(X[:30], y[:30])
    X[50, 1] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        learner.query(X[30:], 5)
