"""Many polynomials at once, as two sweeps that meet at a cut.

From either end, the features of a few sites at a time are multiplied into what was swept up so far and projected on
the space that the observables share there, whose rank is far below 3^sites. At the cut, each observable is the inner
product of a vector from the left and one from the right, as long as its own rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from .steps import Real, Site
from .train import TOLERANCE, Shared, Train, decompose, project, shared_basis

__all__ = ["Block", "Stage", "factor"]

# What running a block costs, in multiply-adds of a matrix product, as measured with onnxruntime on one thread.
_COSINE = 100
_ROW = 1000  # of a product of features with what was swept up
_PRODUCT = 5
_STAGE = 4000  # five nodes, at a batch of a few rows
_MOST_SITES = 4
"""Sites in one stage: 3⁴ cosines."""
_MOST_TOGETHER = 16
"""Sites in one block, so that the time to compile grows with a circuit's width and not with its square."""
_ZERO = 1e-10
"""This part of a matrix's largest entry is nothing beside float32's precision."""
_PADDING = Site(-2, -2, 0, 0.0)


@dataclass(frozen=True)
class Stage:
    """Some sites, multiplied into what was swept up so far.

    Attributes:
        sites: t of them.
        matrix: (3ᵗ, r, r′): a feature (see `harmonics`), what was swept up, what is given on.
    """

    sites: tuple[Site, ...]
    matrix: Real


@dataclass(frozen=True)
class Block:
    """Some observables in factored form.

    Attributes:
        observables: (m,) their positions.
        left, right: the sweeps from either end. The last matrix of each gives the Σr vectors of all observables.
        ranks: (m,) how long the vectors of each observable are.
    """

    observables: tuple[int, ...]
    left: tuple[Stage, ...]
    right: tuple[Stage, ...]
    ranks: tuple[int, ...]

    @property
    def multiply_adds(self) -> int:
        """Of one row of angles."""
        return sum(stage.matrix.size for stage in (*self.left, *self.right)) + sum(self.ranks)


def factor(trains: Sequence[Train]) -> list[Block]:
    """Group the observables as it costs least, one after the other, and factor each group."""
    order = sorted(range(len(trains)), key=lambda j: (trains[j].sites[0], trains[j].sites[-1]))
    groups: list[_Group] = []
    for j in order:
        alone = _Group((j,), (trains[j],))
        options = []
        for i, group in enumerate(groups):
            own, theirs = {*alone.sites}, {*group.sites}
            if own & theirs and len(own | theirs) <= max(len(own), len(theirs), _MOST_TOGETHER):
                joined = _Group((*group.observables, j), (*group.trains, trains[j]))
                options.append((joined.cost - group.cost, i, joined))
        saving = min(options, key=lambda option: option[0], default=None)
        if saving is None or saving[0] > alone.cost:
            groups.append(alone)
        else:
            groups[saving[1]] = saving[2]
    return [group.block() for group in groups]


@dataclass(frozen=True)
class _Sweep:
    """A way to the cut: what it costs, and the places between its stages."""

    cost: float
    places: tuple[int, ...]


@dataclass(frozen=True)
class _Group:
    observables: tuple[int, ...]
    trains: tuple[Train, ...]

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        found = sorted({site for train in self.trains for site in train.sites})
        return tuple(found + [replace(_PADDING, number=i) for i in range(2 - len(found))])  # neither side may be empty

    @cached_property
    def _aligned(self) -> list[Train]:
        return [train.on(self.sites) for train in self.trains]

    @cached_property
    def _sides(self) -> tuple[Shared, Shared]:
        return shared_basis([t.left for t in self._aligned]), shared_basis([t.right for t in self._aligned])

    @cached_property
    def _plan(self) -> tuple[float, int, _Sweep, _Sweep]:
        """The cheapest cut and the cheapest sweeps to it."""
        n = len(self.sites)
        left, right = (_sweeps(side.ranks) for side in self._sides)
        plans = []
        for cut in range(1, n):
            width = sum(train.left[cut].shape[0] for train in self._aligned)
            sweeps = [
                _last(sweep, side.ranks, places, width)
                for sweep, side, places in zip((left, right), self._sides, (cut, n - cut), strict=True)
            ]
            plans.append((sweeps[0].cost + sweeps[1].cost + width * _PRODUCT, cut, sweeps[0], sweeps[1]))
        return min(plans, key=lambda plan: plan[0])

    @property
    def cost(self) -> float:
        return self._plan[0]

    def block(self) -> Block:
        _, cut, left_sweep, right_sweep = self._plan
        left, right = self._sides
        vectors = []
        for j, train in enumerate(self._aligned):
            middle = left.coordinates[cut][j] @ project(train, right)[len(self.sites) - cut]
            u, values, v = decompose(middle)
            kept = values > TOLERANCE * values[0]
            kept[0] = True
            root = np.sqrt(values[kept])
            vectors.append((u[:, kept] * root, v[kept].T * root))
        ends = (np.concatenate([u for u, _ in vectors], axis=1), np.concatenate([v for _, v in vectors], axis=1))
        return Block(
            self.observables,
            _stages(self.sites, left, left_sweep.places, ends[0]),
            _stages(self.sites[::-1], right, right_sweep.places, ends[1]),
            tuple(u.shape[1] for u, _ in vectors),
        )


def _sweeps(ranks: Sequence[int]) -> list[_Sweep]:
    """The cheapest way to each place, by dynamic programming."""
    best = [_Sweep(0.0, (0,))]
    for place in range(1, len(ranks)):
        best.append(_last(best, ranks, place, ranks[place]))
    return best


def _last(best: Sequence[_Sweep], ranks: Sequence[int], place: int, width: int) -> _Sweep:
    options = []
    for before in range(max(0, place - _MOST_SITES), place):
        features = 3 ** (place - before)
        cost = features * (_COSINE + ranks[before] * width) + _STAGE
        if before:
            cost += features * (_ROW + ranks[before] * _PRODUCT)
        options.append(_Sweep(best[before].cost + cost, (*best[before].places, place)))
    return min(options, key=lambda sweep: sweep.cost)


def _stages(sites: Sequence[Site], side: Shared, places: Sequence[int], end: Real) -> tuple[Stage, ...]:
    stages = []
    for before, after in pairwise(places):
        matrix = np.eye(side.ranks[before])[:, None]
        for core in side.cores[before:after]:
            matrix = np.tensordot(matrix, core, axes=1).reshape(len(matrix), -1, core.shape[2])
        if after == places[-1]:
            matrix = matrix @ end
        matrix = np.einsum("hf,rfs->hrs", harmonics(after - before)[1], matrix)
        # Rounding errors of zeros, multiplied up over many stages, would be denormal numbers, which are slow.
        matrix[np.abs(matrix) < _ZERO * np.abs(matrix).max()] = 0.0
        stages.append(Stage(tuple(sites[before:after]), matrix))
    return tuple(stages)


def harmonics(count: int) -> tuple[Real, Real]:
    """Products of 1, cos and sin of `count` angles, as cosines of sums: one cosine each, and no products.

    Returns:
        (3ᵗ, t + 1): the factor of each angle in each cosine's sum, and the constant that is added to it.
        (3ᵗ, 3ᵗ): the products of features, in the order of the last angle fastest, as sums of these cosines.
    """
    exponents = np.array(np.meshgrid(*[[0, 1, -1]] * count, indexing="ij")).reshape(count, -1).T
    one = np.array([[1, 0, 0], [0, 0.5, -0.5j], [0, 0.5, 0.5j]])  # 1, cos, sin in terms of 1, exp(iφ), exp(−iφ)
    products = np.ones((1, 1))
    for _ in range(count):
        products = np.kron(products, one)
    sums, rows = [], []
    for exponent, row in zip(exponents, products, strict=True):
        leading = next((e for e in exponent if e), 0)
        if leading < 0:
            continue  # the conjugate of another
        # a·exp(ix) + ā·exp(−ix) = 2·Re a·cos x + 2·Im a·cos(x + π/2)
        sums.append([*exponent, 0.0])
        rows.append(row.real * (2 if leading else 1))
        if leading:
            sums.append([*exponent, np.pi / 2])
            rows.append(2 * row.imag)
    return np.array(sums), np.array(rows)
