"""What a student learns from: labels, a teacher's probabilities, or both."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["Targets", "distillation_loss"]

_TINY = 1e-7  # keeps logarithms of a teacher's zeros finite


class Targets(NamedTuple):
    """What is known about N texts.

    Attributes:
        classes: (N,) class numbers; -1 where there is no label.
        teacher: (N, C) probabilities; all 0 where there is no teacher.
    """

    classes: jax.Array
    teacher: jax.Array


def distillation_loss(logits: jax.Array, targets: Targets, *, alpha: float, temperature: float, js: bool) -> jax.Array:
    """The loss of each text: (1−α)·CE + α·T²·KL(teacher ‖ student), with α·JS added if asked for.

    CE is the cross-entropy with the label. KL compares teacher and student softened by the temperature T (Hinton et
    al., arXiv 1503.02531), and T² keeps its gradient's size. JS is the Jensen-Shannon divergence of the two at T = 1
    (QD-LLM, arXiv 2505.13205). A text without a label has no CE; one without a teacher has CE alone, with weight 1.

    Args:
        logits: (N, C) of the student.
        targets: what is known.
        alpha: α, the teacher's share.
        temperature: T.
        js: whether to add the JS term.

    Returns:
        (N,) float32.
    """
    labelled = targets.classes >= 0
    taught = targets.teacher.sum(axis=1) > 0
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets.classes, 0))
    known = jnp.log(jnp.maximum(targets.teacher, _TINY))
    soft, own = jax.nn.log_softmax(known / temperature), jax.nn.log_softmax(logits / temperature)
    divergence = temperature**2 * _kl(soft, own)
    if js:
        teacher, student = jax.nn.log_softmax(known), jax.nn.log_softmax(logits)
        middle = jnp.logaddexp(teacher, student) - jnp.log(2.0)
        divergence += (_kl(teacher, middle) + _kl(student, middle)) / 2
    label_weight = jnp.where(labelled, jnp.where(taught, 1 - alpha, 1.0), 0.0)
    loss: jax.Array = label_weight * entropy + jnp.where(taught, alpha, 0.0) * divergence
    return loss


def _kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """(N,) KL divergence of q from p, both (N, C) log-probabilities."""
    return (jnp.exp(p) * (p - q)).sum(axis=1)
