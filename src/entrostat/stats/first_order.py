"""What a small step of the logits does to the entropy, to first order.

One position, logits z (already divided by the temperature), p = softmax(z), H = -sum_i p_i log p_i [nats]. Everything
follows from one gradient, dH/dz_j = -p_j (log p_j + H), of which the discriminator S_j = p_j (H + log p_j) is the
negative:

    any nudge dz of the logits:              dH = -sum_j S_j dz_j       + O(|dz|^2)
    one logit z_k raised by eps:             dH = -eps S_k              + O(eps^2)
    one GRPO step on token k, a = lr r A:    dH = -a (S_k - sum_j p_j S_j) = -a D_k + O(a^2)

The last holds because that step moves the logits by dz_j = a (1[j = k] - p_j). `docs/theory.md` has the derivations.

Every function works in the logits' own dtype (give fp32 or better) and over any leading shape. Log-probabilities are
logits too, so `entropy_change(p.log(), ...)` starts from probabilities. A logit of -inf (masked vocabulary) has p = 0
and S = 0.

Source: 2602.03392, Eq. 5 (S), Theorem 3.2 (one logit), Theorem 3.3 (one GRPO step) and its corollary (expectation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from entrostat.errors import DataError

# Finite stand-in for log 0: times p = 0 it gives 0, where -inf would give NaN.
_LOG_ZERO = -1e4


def _log_softmax(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """p, log p (finite) and H, the latter with a last dimension of 1."""
    logp = torch.log_softmax(logits, dim=-1)
    p = logp.exp()
    logp = logp.masked_fill(logp == -torch.inf, _LOG_ZERO)
    return p, logp, -(p * logp).sum(-1, keepdim=True)


def _gather(values_V: Tensor, token: Tensor) -> Tensor:
    if token.shape != values_V.shape[:-1]:
        raise DataError(
            f"token must have shape {tuple(values_V.shape[:-1])}, the logits' own, got {tuple(token.shape)}"
        )
    return values_V.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def policy_entropy(logits: Tensor) -> Tensor:
    """-sum p log p, with p = softmax(logits): (..., V) to (...), in nats."""
    return _log_softmax(logits)[2].squeeze(-1)


def discriminators(logits: Tensor) -> Tensor:
    """p * (H + log p), with p = softmax(logits): the discriminator S of every token in the vocabulary, (..., V) [nats].

    It is minus the gradient of the entropy with respect to the logits, and sums to 0 over the vocabulary.

    Source: 2602.03392, Eq. 5.
    """
    p, logp, entropy = _log_softmax(logits)
    return p * (entropy + logp)


def centered_discriminators(logits: Tensor) -> Tensor:
    """S - sum_j p_j S_j: the centered discriminator D of every token in the vocabulary, (..., V) [nats]."""
    s = discriminators(logits)
    return s - (torch.softmax(logits, dim=-1) * s).sum(-1, keepdim=True)


def entropy_change(logits: Tensor, nudge: Tensor) -> Tensor:
    """-(S * nudge).sum(-1): first-order change of entropy when the logits move by `nudge`.

    Args:
        logits: (..., V); nudge: the same shape, or one that broadcasts to it.

    Returns:
        (...), in nats. Adding a constant to the whole nudge changes nothing: S sums to 0.
    """
    return -(discriminators(logits) * nudge).sum(-1)


def change_from_raise(logits: Tensor, token: Tensor, eps: float | Tensor) -> Tensor:
    """-eps * S[token]: first-order change of entropy when one logit is raised by eps.

    Args:
        logits: (..., V); token: (...), the index of the logit that moves; eps: a number or (...).

    Returns:
        (...), in nats.

    Raises:
        DataError: a token tensor of another shape.

    Source: 2602.03392, Theorem 3.2.
    """
    return -eps * _gather(discriminators(logits), token)


def change_from_grpo_step(logits: Tensor, token: Tensor, step: float | Tensor) -> Tensor:
    """-step * D[token]: first-order change of entropy under the GRPO step of one sampled token, seen at the logits.

    Args:
        logits: (..., V); token: (...), the sampled token k.
        step: a = learning rate * importance ratio * advantage; a number or (...).

    Returns:
        (...), in nats. Over tokens drawn from the policy itself its mean is 0 for a constant `step`.

    Raises:
        DataError: a token tensor of another shape.

    Source: 2602.03392, Theorem 3.3.
    """
    return -step * _gather(centered_discriminators(logits), token)


def expected_centered(logits: Tensor) -> Tensor:
    """sum_k p_k D_k, (...): 0 for every distribution, up to rounding.

    So what moves the entropy on-policy is not D but its covariance with the advantage.
    """
    return (torch.softmax(logits, dim=-1) * centered_discriminators(logits)).sum(-1)


def typical_probability(logits: Tensor) -> Tensor:
    """exp(-H), (...): one over the perplexity, and the probability at which S changes sign.

    Raising a token more likely than this lowers the entropy, raising a less likely one increases it. It is the
    geometric mean of p weighted by p itself, so both kinds exist unless p is uniform on its support.

    Source: 2602.03392, the sign of S in Eq. 5.
    """
    return policy_entropy(logits).neg().exp()
