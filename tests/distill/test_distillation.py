"""The loss and the head, against their formulas."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdistill.ansatz import line
from qdistill.config import make_config
from qdistill.distillation import Targets, distillation_loss
from qdistill.heads import Head


def softmax(z: np.ndarray) -> np.ndarray:
    weights = np.exp(z - z.max())
    return np.asarray(weights / weights.sum())


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0.5, 5), st.booleans())
@settings(max_examples=50, database=None)
def test_loss_is_the_stated_formula(seed: int, alpha: float, temperature: float, js: bool) -> None:
    rng = np.random.default_rng(seed)
    logits, teacher = rng.normal(0, 3, (3, 4)), rng.dirichlet(np.full(4, 2.0), 3)
    teacher = 0.99 * teacher + 0.0025
    classes = np.array([2, -1, 1])  # a label and a teacher, a teacher alone, a label alone
    teacher[2] = 0
    found = distillation_loss(
        jnp.asarray(logits),
        Targets(jnp.asarray(classes), jnp.asarray(teacher)),
        alpha=alpha,
        temperature=temperature,
        js=js,
    )
    expected = []
    for z, p, label in zip(logits, teacher, classes, strict=True):
        entropy = -np.log(softmax(z)[label])
        if not p.sum():
            expected.append(entropy)
            continue
        told = temperature**2 * kl(softmax(np.log(p) / temperature), softmax(z / temperature))
        if js:
            middle = (p + softmax(z)) / 2
            told += (kl(p, middle) + kl(softmax(z), middle)) / 2
        expected.append(alpha * told + (label >= 0) * (1 - alpha) * entropy)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def test_a_perfect_student_of_a_certain_teacher_has_a_finite_loss() -> None:
    targets = Targets(jnp.array([0]), jnp.array([[1.0, 0.0]]))
    loss = distillation_loss(jnp.array([[80.0, -80.0]]), targets, alpha=0.5, temperature=2.0, js=True)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("head", ["circuit", "tanh", "linear"])
def test_gradient_of_the_angles_is_that_of_the_loss(head: str) -> None:
    config = make_config("folded", ansatz="line", num_qubits=2, head=head, circuit_rate=1e-9)
    head = Head(line(2, 1), 3, config, steps=10)
    angles = np.random.default_rng(0).uniform(0.3, 2.8, (4, 2)).astype(np.float32)
    targets = Targets(jnp.array([0, 1, 2, 0]), jnp.zeros((4, 3)))

    def loss(at: np.ndarray) -> float:
        logits = head.logits(at).astype(float)
        return float(np.mean([-np.log(softmax(z)[c]) for z, c in zip(logits, [0, 1, 2, 0], strict=True)]))

    expected = np.zeros_like(angles)
    for place in np.ndindex(*angles.shape):
        step = np.zeros_like(angles)
        step[place] = 1e-2
        expected[place] = (loss(angles + step) - loss(angles - step)) / 2e-2
    value, gradient = head.step(angles, targets)
    assert float(value) == pytest.approx(loss(angles), abs=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-3)


def test_the_twin_is_tanh() -> None:
    config = make_config("folded", num_qubits=2, ansatz="line", head="tanh")
    head = Head(line(2, 1), 2, config, steps=10)
    z = np.array([[0.3, -1.2]])
    angles = np.pi / 2 * (1 + np.tanh(z))
    _, weights, bias = head.params
    np.testing.assert_allclose(head.logits(angles), np.tanh(z) @ np.asarray(weights).T + np.asarray(bias), atol=1e-5)
