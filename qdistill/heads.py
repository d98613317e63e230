"""What follows the encoder: the circuit or what stands in its place, and the readout. In JAX."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike, NDArray

from .ansatz import Ansatz
from .config import TrainConfig
from .distillation import Targets, distillation_loss

__all__ = ["Head", "HeadParams"]


class HeadParams(NamedTuple):
    """Trained angles (K,), readout weights (C, M) and bias (C,). Without a circuit, K = 0."""

    circuit: jax.Array
    weights: jax.Array
    bias: jax.Array


class Head:
    """Angles to logits, and one step of learning.

    In the circuit's place, `tanh` has the M = P values 2θ/π − 1, which are tanh z for angles θ = π/2·(1 + tanh z): the
    classical twin. `linear` takes the angles as values.

    Attributes:
        params: as trained so far.
    """

    def __init__(self, ansatz: Ansatz, num_classes: int, config: TrainConfig, steps: int) -> None:
        """Draw fresh parameters, for training that takes so many steps."""
        self._ansatz, self._config = ansatz, config
        for_circuit, for_readout = jax.random.split(jax.random.key(config.seed))
        shape = (num_classes, len(ansatz.observables))
        trained = ansatz.num_parameters if config.head == "circuit" else 0
        self.params = HeadParams(
            circuit=jax.random.uniform(for_circuit, (trained,), minval=-jnp.pi, maxval=jnp.pi),
            weights=jax.random.normal(for_readout, shape) / np.sqrt(shape[1]),
            bias=jnp.zeros(num_classes),
        )
        self._optimizer = optax.adam(optax.cosine_decay_schedule(config.circuit_rate, steps))
        self._state = self._optimizer.init(self.params)
        self._step = jax.jit(self._learn)
        self._logits = jax.jit(self._forward)

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(array.size for array in self.params)

    def step(self, angles: ArrayLike, targets: Targets) -> tuple[jax.Array, NDArray[np.float32]]:
        """Learn from a batch.

        Args:
            angles: (N, P), radians.
            targets: of the same N texts.

        Returns:
            The mean loss, and its gradient with respect to the angles, (N, P).
        """
        loss, gradient, self.params, self._state = self._step(self.params, self._state, jnp.asarray(angles), targets)
        return loss, np.asarray(gradient)

    def logits(self, angles: ArrayLike) -> NDArray[np.float32]:
        """(N, P) → (N, C). Every N that it meets is compiled anew."""
        return np.asarray(self._logits(self.params, jnp.asarray(angles)))

    def _forward(self, params: HeadParams, angles: jax.Array) -> jax.Array:
        match self._config.head:
            case "circuit":
                values = self._ansatz.expectations(params.circuit, angles)
            case "tanh":
                values = 2 * angles / jnp.pi - 1
            case "linear":
                values = angles
        logits: jax.Array = values @ params.weights.T + params.bias
        return logits

    def _loss(self, params: HeadParams, angles: jax.Array, targets: Targets) -> jax.Array:
        settings = self._config
        losses = distillation_loss(
            self._forward(params, angles),
            targets,
            alpha=settings.alpha,
            temperature=settings.temperature,
            js=settings.js,
        )
        return losses.mean()

    def _learn(
        self, params: HeadParams, state: optax.OptState, angles: jax.Array, targets: Targets
    ) -> tuple[jax.Array, jax.Array, HeadParams, optax.OptState]:
        loss, (gradient, for_angles) = jax.value_and_grad(self._loss, argnums=(0, 1))(params, angles, targets)
        updates, state = self._optimizer.update(gradient, state, params)
        return loss, for_angles, optax.apply_updates(params, updates), state
