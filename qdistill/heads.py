"""What follows the encoder: the circuit or what stands in its place, and the readout. In JAX."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike, NDArray

from qdinfer.errors import InputError

from .ansatz import Ansatz
from .config import TrainConfig
from .distillation import Targets, distillation_loss

__all__ = ["Head", "HeadParams"]

_TINY = 1e-6  # keeps the slope of a square root finite


class HeadParams(NamedTuple):
    """Trained angles (K,), readout weights (C, M) and bias (C,). Without a circuit, K = 0."""

    circuit: jax.Array
    weights: jax.Array
    bias: jax.Array


class Head:
    """Angles to logits, and one step of learning.

    In the circuit's place, `tanh` has the M = P values 2θ/π − 1, which are tanh z for angles θ = π/2·(1 + tanh z): the
    classical twin. `linear` takes the angles as values.

    Trained for a device, the readout acts on the values that it would give. With infinitely many shots a readout could
    undo any damping, so each step sees the noise of shots as well: what is damped has as much of it and tells less.

    Attributes:
        params: as trained so far.
    """

    def __init__(self, ansatz: Ansatz, num_classes: int, config: TrainConfig, steps: int) -> None:
        """Draw fresh parameters, for training that takes so many steps.

        Raises:
            InputError: a device for another number of observables, or for no circuit.
        """
        _check_device(config, len(ansatz.observables))
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
        self._shot_noise, self._steps = jax.random.fold_in(jax.random.key(config.seed), 2), count()
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
        key = jax.random.fold_in(self._shot_noise, next(self._steps))
        loss, gradient, self.params, self._state = self._step(
            self.params, self._state, jnp.asarray(angles), targets, key
        )
        return loss, np.asarray(gradient)

    def logits(self, angles: ArrayLike) -> NDArray[np.float32]:
        """(N, P) → (N, C), of infinitely many shots. Every N that it meets is compiled anew."""
        return np.asarray(self._logits(self.params, jnp.asarray(angles)))

    def _forward(self, params: HeadParams, angles: jax.Array, key: jax.Array | None = None) -> jax.Array:
        match self._config.head:
            case "circuit":
                values = self._measured(self._ansatz.expectations(params.circuit, angles), key)
            case "tanh":
                values = 2 * angles / jnp.pi - 1
            case "linear":
                values = angles
        logits: jax.Array = values @ params.weights.T + params.bias
        return logits

    def _measured(self, values: jax.Array, key: jax.Array | None) -> jax.Array:
        """What the device makes of ideal values (N, M): with a key, of its shots; else of infinitely many."""
        device = self._config.device
        if device is None:
            return values
        means = jnp.asarray(device.offsets) + jnp.asarray(device.slopes) * values
        if key is None:
            return means
        deviations = jnp.sqrt(jnp.maximum(1 - means**2, _TINY) / device.shots)
        return means + deviations * jax.random.normal(key, means.shape)

    def _loss(self, params: HeadParams, angles: jax.Array, targets: Targets, key: jax.Array) -> jax.Array:
        settings = self._config
        losses = distillation_loss(
            self._forward(params, angles, key),
            targets,
            alpha=settings.alpha,
            temperature=settings.temperature,
            js=settings.js,
        )
        return losses.mean()

    def _learn(
        self, params: HeadParams, state: optax.OptState, angles: jax.Array, targets: Targets, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, HeadParams, optax.OptState]:
        loss, (gradient, for_angles) = jax.value_and_grad(self._loss, argnums=(0, 1))(params, angles, targets, key)
        updates, state = self._optimizer.update(gradient, state, params)
        return loss, for_angles, optax.apply_updates(params, updates), state


def _check_device(config: TrainConfig, observables: int) -> None:
    if config.device is None:
        return
    if config.head != "circuit":
        raise InputError(f"device: found one for the head {config.head!r}, which runs on none; expected 'circuit'")
    offsets, slopes = len(config.device.offsets), len(config.device.slopes)
    if {offsets, slopes} != {observables}:
        raise InputError(f"device: found {offsets} offsets and {slopes} slopes; expected {observables} of each")
