"""
Four moons: one class with random labels
========================================

**Question.** The labels of one region are pure chance, and most of the pool lies there. Which
strategies pour the labelling budget into it, and what does the net learn from what they ask?

**Answer.** Asking where the net is unsure asks for the random labels, because it will be unsure
there for ever. LHD, which looks for rows on which the net is still learning, and CoreSet, which
looks for diverse rows, leave more of the budget for the three classes that can be learnt.

This is the toy experiment of the LHD paper (Khosla et al., 2022, arXiv:2211.00928, Figure 1),
scaled down so that the page is built in seconds: a fifth of the rows, a third of the labels, inputs
standardised, one run per strategy. One run shows what happens, not how often: see
:doc:`/benchmarks` for several at full size.
"""

# %%
# The data
# --------
# Two moons, twice. The first moon has random labels and is repeated seven times: 70 % of the pool.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.datasets import make_four_moons
from skal.neural_network import NeuralNetClassifier
from skal.strategies import LHD, CoreSet, LeastConfidence, RandomSampling

moons = make_four_moons(n_samples=2400, random_state=0)
X, y, is_noisy = moons.data, moons.target, moons.is_noisy
X_test, y_test = moons.data_test, moons.target_test
print(f"{len(X)} rows, {is_noisy.mean():.0%} of them with random labels")

# %%
# Four strategies, one budget
# ---------------------------
# Twenty random labels, then four batches of 100, with a net that is trained afresh each time. LHD
# adds the moving average of the weights to the training itself. A training has 80 to 1120 steps
# here; ``alpha=0.995`` looks back over about 200 of them.
STRATEGIES = {
    "random": RandomSampling(),
    "least confidence": LeastConfidence(),
    "coreset": CoreSet(),
    "LHD": LHD(alpha=0.995),
}


def run(strategy):
    """Spend the budget; return the learner and the rows that were asked."""
    net = NeuralNetClassifier(
        module__hidden=(128, 128), classes=range(4), batch_size=32, max_epochs=80, lr=0.01
    )
    model = make_pipeline(StandardScaler(), net)
    learner = ActiveLearner(model, strategy, random_state=0).fit(X[:20], y[:20])
    left, asked = np.arange(20, len(X)), []
    for _ in range(4):
        chosen = left[learner.query(X[left], 100)]
        learner.teach(X[chosen], y[chosen])
        left, asked = np.setdiff1d(left, chosen), [*asked, chosen]
    return learner, np.concatenate(asked)


runs = {name: run(strategy) for name, strategy in STRATEGIES.items()}

# %%
# What they asked, and what the net made of it
# --------------------------------------------
# Dots are the rows asked, red where labels are random; colours of the ground are the predictions.
# Nothing can be learnt about the upper left moon, so that the accuracy on the other three is what
# can be gained.
x0, x1 = np.meshgrid(np.linspace(-1.5, 6.5, 200), np.linspace(-1.0, 1.5, 80))
grid = np.column_stack([x0.ravel(), x1.ravel()])
clean = y_test != 0

figure, axes = plt.subplots(2, 2, figsize=(11, 6), sharex=True, sharey=True)
for axis, (name, (learner, asked)) in zip(axes.flat, runs.items(), strict=True):
    axis.contourf(
        x0, x1, learner.predict(grid).reshape(x0.shape), levels=np.arange(-0.5, 4), cmap="Pastel1"
    )
    for flag, color in ((True, "crimson"), (False, "black")):
        axis.scatter(*X[asked[is_noisy[asked] == flag]].T, s=5, c=color)
    accuracy = (learner.predict(X_test) == y_test)[clean].mean()
    axis.set_title(
        f"{name}: {is_noisy[asked].mean():.0%} of labels random,\n"
        f"{accuracy:.1%} right on the three clean moons"
    )
    axis.set(xticks=[], yticks=[])
figure.tight_layout()
plt.show()

# %%
# What was learned
# ----------------
# * Uncertainty cannot tell what is not known yet from what cannot be known. Where labels are noisy
#   in places, least confidence is worse than random.
# * Diversity helps by itself, and here it is enough: the noisy points are repeated, and a repeated
#   row is worth nothing to CoreSet. LHD spends about half of the budget on them.
# * How LHD works, and what to set: :doc:`/user_guide/heteroskedastic`.
