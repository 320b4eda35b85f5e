"""
Learning from labels that are often wrong
=========================================

**Question.** Whoever labels digits mixes up some of them: 4 and 9, 3 and 8. Can a net find that
out, from nothing but the wrong labels, and read the digits better than it was taught?

**Answer.** Yes, if it cannot learn the mistakes by heart: 95 % instead of 82 %, with 24 % of the
labels wrong.
"""

# %%
# A channel of mistakes
# ---------------------
# Column j of the channel W says how a digit j is labelled. Every label is wrong with probability
# 0.1; besides, a third of the fours become nines, of the threes eights, of the sevens ones and of
# the fives sixes. In all, almost one label in four is wrong.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skal.neural_network import NeuralNetClassifier, NoisyChannelClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=500, stratify=y, random_state=0
)

channel = np.full((10, 10), 0.1 / 9)
np.fill_diagonal(channel, 0.9)
for digit, label in [(4, 9), (3, 8), (7, 1), (5, 6)]:
    channel[label, digit] += 0.35
    channel[digit, digit] -= 0.35

rng = np.random.RandomState(0)
y_noisy = np.array([rng.choice(10, p=channel[:, digit]) for digit in y_train])
print(f"{(y_noisy != y_train).mean():.0%} of the labels are wrong")

# %%
# A simple model
# --------------
# Softmax regression, with and without a channel at its end, which starts at the identity and is
# trained along. The test labels are right; the net predicts without its channel.

params = {"lr": 0.003, "max_epochs": 200, "module__dropout": 0.3, "random_state": 0}
accuracies = {}


def compare(name, **more):
    """Fit both on the noisy labels; return the estimated channel."""
    plain = NeuralNetClassifier(**params, **more).fit(X_train, y_noisy)
    denoised = NoisyChannelClassifier(**params, **more).fit(X_train, y_noisy)
    accuracies[name] = plain.score(X_test, y_test), denoised.score(X_test, y_test)
    return denoised.noise_channel_


estimates = {
    "softmax regression": compare("softmax regression", module__hidden=()),
    "64 hidden units": compare("64 hidden units", module__hidden=(64,)),
}
for name, (without, with_channel) in accuracies.items():
    print(f"{name}: {without:.1%} without a channel, {with_channel:.1%} with one")

# %%
# What was learnt
# ---------------

fig, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained", sharey=True)
titles = {"planted": channel, **{f"estimated, {name}": W for name, W in estimates.items()}}
for ax, (title, W) in zip(axes, titles.items(), strict=True):
    image = ax.imshow(W, vmin=0, vmax=1, cmap="Blues")
    ax.set(title=title, xlabel="true digit", xticks=range(10), yticks=range(10))
axes[0].set_ylabel("label given")
colorbar = fig.colorbar(image, ax=axes, shrink=0.8)
colorbar.set_label("probability of the label")

# %%
# Accuracy on labels that are right:

fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
positions = np.arange(len(accuracies))
for shift, label, values in zip(
    (-0.2, 0.2),
    ("without a channel", "with one"),
    zip(*accuracies.values(), strict=True),
    strict=True,
):
    bars = ax.bar(positions + shift, values, width=0.38, label=label)
    ax.bar_label(bars, fmt="{:.1%}")
ax.set(xticks=positions, xticklabels=list(accuracies), ylabel="test accuracy", ylim=(0.5, 1.05))
legend = ax.legend(loc="lower right", framealpha=1)

# %%
# Softmax regression cannot learn the mistakes by heart; they have to go into the channel. It finds
# every pair that is mixed up, and reads digits far better than it was taught. A net of 64 hidden
# units, trained for as long, learns single wrong labels by heart: for these it needs no channel,
# and its estimate stays near the identity. It gains less, and both do worse than the simple model.
#
# Stop such a net early, regularise it, or give it the channel if you know it (``channel=...,
# trainable=False``). The published update of the channel (``update="paper"``) estimates little but
# keeps a net from learning mistakes by heart: here, it takes the one with 64 hidden units to 97 %,
# and softmax regression, which needed no such help, down to 58 %.

plt.show()
