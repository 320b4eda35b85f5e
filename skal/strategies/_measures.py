"""Numbers that say how undecided, or divided, class probabilities are."""

import torch


def mutual_information(P):
    """Entropy of the mean less the mean entropy: (T, n, C) probabilities to (n,), in nats."""
    entropy = torch.special.entr(P.mean(0)).sum(-1)
    return (entropy - torch.special.entr(P).sum(-1).mean(0)).clamp_min_(0.0)


def share_of_minority(P):
    """Share of models that do not vote with the majority: (T, n, C) to (n,).

    Of probabilities or their logarithms.
    """
    votes = torch.nn.functional.one_hot(P.argmax(-1), P.shape[-1]).sum(0)
    return 1.0 - votes.max(-1).values.double() / len(P)


def disagreement(P, measure):
    """Scores (n,) from member probabilities P (T, n, C)."""
    entropy = lambda p: torch.special.entr(p).sum(-1)  # noqa: E731
    mean = P.mean(0)
    if measure == "soft_vote_entropy":
        return entropy(mean)
    if measure in ("kl", "kl_max"):
        # KL(p_t || mean); where mean is 0 so is every p_t, and xlogy(0, .) is 0.
        divergence = (torch.xlogy(P, P) - torch.xlogy(P, mean)).sum(-1).clamp_min(0.0)
        return divergence.mean(0) if measure == "kl" else divergence.max(0).values
    votes = torch.nn.functional.one_hot(P.argmax(-1), P.shape[-1]).to(P.dtype).mean(0)
    return entropy(votes) if measure == "vote_entropy" else 1.0 - votes.max(-1).values


def margin_scores(P):
    """Minus the difference of the two largest probabilities: (n, C) to (n,), in [-1, 0]."""
    largest = P.topk(2, dim=1).values
    return largest[:, 1] - largest[:, 0]


def rest_of_largest(P):
    """One minus the largest probability, (n, C) to (n,), without cancelling in sure rows."""
    return P.scatter(1, P.argmax(1, keepdim=True), 0.0).sum(1)


def uncertainty(P, measure):
    """How undecided probabilities are, not negative: (n, C) to (n,).

    "least_confidence" is one minus the largest, "margin" one minus the difference of the two
    largest, "entropy" in nats.
    """
    if measure == "entropy":
        return torch.special.entr(P).sum(1)
    rest = rest_of_largest(P)
    return rest if measure == "least_confidence" else rest + P.topk(2, dim=1).values[:, 1]
