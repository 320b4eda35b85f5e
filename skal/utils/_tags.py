"""What skal's estimators say about themselves, beyond scikit-learn's own tags."""

from copy import deepcopy
from dataclasses import dataclass, field, fields

from sklearn.utils import Tags, get_tags

from skal.utils._nesting import final_step, marks_unlabeled

NEEDS = (
    "probabilities",
    "predictions",
    "features",
    "gradients",
    "stochastic_passes",
    "weights_history",
    "committee",
    "labels",
    "training_loss",
)


@dataclass(slots=True)
class QueryStrategyTags:
    """What a query strategy needs of its estimator, and which tasks it serves.

    Parameters
    ----------
    needs : tuple of str, default=()
        Any of "probabilities", "predictions", "features", "gradients", "stochastic_passes",
        "weights_history", "committee", "labels" and "training_loss".

    tasks : tuple of str, default=("classifier", "regressor")
        The estimator types the strategy serves.

    requires_fitted_estimator : bool, default=True
        False for strategies that can answer before any label is known (cold start): at random,
        or from the inputs alone.

    conditioned_on_labeled : bool, default=False
        Whether the rows labelled so far change the answer other than through the model.

    deterministic : bool, default=False
        Whether the answer is free of chance when no two rows tie.
    """

    needs: tuple = ()
    tasks: tuple = ("classifier", "regressor")
    requires_fitted_estimator: bool = True
    conditioned_on_labeled: bool = False
    deterministic: bool = False

    def __post_init__(self):
        known = {"needs": NEEDS, "tasks": ("classifier", "regressor")}
        for name, names in known.items():
            for value in getattr(self, name):
                if value not in names:
                    raise ValueError(
                        f"{name!r} of QueryStrategyTags must be among {names}. Got {value!r} "
                        "instead."
                    )


@dataclass(slots=True)
class SkalTags(Tags):
    """scikit-learn's tags with what skal adds.

    Parameters
    ----------
    accepts_unlabeled : bool, default=False
        Whether ``fit`` accepts a partly labelled `y` and makes use of the unlabelled rows.

    query_strategy_tags : QueryStrategyTags or None, default=None
        Set by query strategies only.
    """

    accepts_unlabeled: bool = False
    query_strategy_tags: QueryStrategyTags | None = field(default=None)


def extend_tags(tags):
    """Return `tags` (a scikit-learn ``Tags``) as a :class:`SkalTags`."""
    return SkalTags(**{f.name: getattr(tags, f.name) for f in fields(tags)})


def inherit_tags(tags, estimator):
    """Copy into `tags` what a learner inherits of the estimator around which it is built."""
    tags.target_tags.required = True
    if not hasattr(estimator, "fit"):
        return tags
    inner = get_tags(estimator)
    tags.estimator_type = inner.estimator_type
    tags.classifier_tags = deepcopy(inner.classifier_tags)
    tags.regressor_tags = deepcopy(inner.regressor_tags)
    tags.target_tags = deepcopy(inner.target_tags)
    tags.target_tags.required = True
    tags.input_tags = deepcopy(inner.input_tags)
    tags.non_deterministic = inner.non_deterministic
    return tags


def accepts_unlabeled(estimator):
    """Whether the last step of `estimator` learns from unlabelled rows too."""
    tags = get_tags(final_step(estimator))
    return marks_unlabeled(estimator) or bool(getattr(tags, "accepts_unlabeled", False))
