"""Polynomials as tensor trains, and the spaces that many of them share.

A train writes the coefficient c[i₁…i_k] as the product of matrices G₁[i₁] ⋯ G_k[i_k], a core (r, 3, r′) for each site.
The ranks r are those of the coefficients when the sites are cut in two at that place: small where few gates cross the
cut (I. Oseledets 2011, doi:10.1137/090752286).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CompileError
from .propagate import Polynomial, distinct
from .steps import Real, Site

__all__ = [
    "IDLE",
    "MAX_RANK",
    "TOLERANCE",
    "Shared",
    "Train",
    "decompose",
    "project",
    "shared_basis",
    "train_from_left",
    "train_of",
]

TOLERANCE = 1e-8
"""Singular values below this part of the largest are rounding errors, or as good as."""

MAX_RANK = 512
MAX_ENTRIES = 2**26
"""Of a matrix that is decomposed: 512 MB."""

Cores = tuple[Real, ...]

IDLE = Site(-1, -1, 0, 0.0)
"""That of a constant, which needs one to be a train."""


@dataclass(frozen=True)
class Train:
    """A polynomial as a tensor train.

    Attributes:
        sites: at least one.
        left: its cores; on the right of every cut, their product has orthonormal rows, so that the weights are left.
        right: other cores of the same polynomial, the last site first, again with the weights before every cut.
    """

    sites: tuple[Site, ...]
    left: Cores
    right: Cores

    def on(self, sites: Sequence[Site]) -> Train:
        """The same polynomial with sites among these that it does not depend on: they enter by their 1."""
        missing = set(sites) - set(self.sites)
        return Train(tuple(sites), _filled(self.left, sites, missing), _filled(self.right, sites[::-1], missing))


@dataclass(frozen=True)
class Shared:
    """Orthonormal bases of what several trains have on one side of each cut.

    Attributes:
        cores: Q₁ … Q_k, (R, 3, R′); their product up to a cut is the basis there.
        coordinates: at the cuts 0 … k, each train's part up to there in the basis, (R, r).
    """

    cores: Cores
    coordinates: tuple[tuple[Real, ...], ...]

    @property
    def ranks(self) -> list[int]:
        """The joint ranks at the cuts 0 … k."""
        return [1, *(core.shape[2] for core in self.cores)]


def train_of(polynomial: Polynomial) -> Train:
    """The train of a polynomial, by singular value decompositions of its terms.

    Raises:
        CompileError: the ranks are out of reach.
    """
    sites, features = polynomial.sites, polynomial.features
    coefficients = polynomial.coefficients[None]  # (r, T): a row a basis vector so far, a column what follows on it
    if not sites:  # a constant, and no term at all if that is 0
        sites, features = (IDLE,), np.zeros((1, 1), np.uint8)
        coefficients = coefficients.sum(axis=1, keepdims=True)
    cores = []
    for _ in sites:
        first = features[:, 0]
        rows, place = distinct(features[:, 1:])
        features = features[rows, 1:]
        if len(coefficients) > MAX_RANK or 3 * len(coefficients) * len(features) > MAX_ENTRIES:
            raise CompileError(
                f"circuit: found an observable with {len(polynomial.coefficients)} terms, of rank "
                f"{len(coefficients)} or more; expected at most {MAX_RANK}, and fewer terms with a large rank. "
                "Run this circuit on backend='aer'"
            )
        matrix = np.zeros((len(coefficients), 3, len(features)))
        matrix[:, first, place] = coefficients
        flat = matrix.reshape(-1, len(features))
        basis = _basis(flat)
        cores.append(basis.reshape(-1, 3, basis.shape[1]))
        coefficients = basis.T @ flat
    cores[-1] = cores[-1] @ coefficients
    return Train(sites, _weights_first(cores), _reversed(cores))


def train_from_left(sites: tuple[Site, ...], left: Cores) -> Train:
    """The train whose cores from the left are these, the weights in the first."""
    return Train(sites, left, _weights_first(_reversed(left)))


def shared_basis(trains: Sequence[Cores]) -> Shared:
    """The joint bases of trains over the same sites, from the first site on.

    The simplest trains come first, and each only adds what those before it have not: so an observable that depends on
    little is made of few basis vectors, and has no share in the rounding errors of the others.
    """
    order = sorted(range(len(trains)), key=lambda j: sum(core.size for core in trains[j]))
    at: tuple[Real, ...] = tuple(np.ones((1, 1)) for _ in trains)
    coordinates, cores = [at], []
    for k in range(len(trains[0])):
        parts = [np.tensordot(c, train[k], axes=1) for c, train in zip(at, trains, strict=True)]
        flat = [part.reshape(-1, part.shape[2]) for part in parts]
        basis = np.zeros((len(flat[0]), 0))
        for j in order:
            basis = _extended(basis, flat[j])
        at = tuple(basis.T @ part for part in flat)
        cores.append(basis.reshape(-1, 3, basis.shape[1]))
        coordinates.append(at)
    return Shared(tuple(cores), tuple(coordinates))


def project(train: Train, basis: Shared) -> list[Real]:
    """The inner products of what is right of each cut in `train.left` with a basis of the right, (r, R).

    The first is for no site on the right, the last for all.
    """
    products = [np.ones((1, 1))]
    for core, other in zip(_reversed(train.left), basis.cores, strict=True):
        half = np.tensordot(products[-1], other, axes=1)  # (r, 3, R')
        products.append(np.tensordot(core, half, axes=((0, 1), (0, 1))))
    return products


def _reversed(cores: Sequence[Real]) -> Cores:
    return tuple(core.transpose(2, 1, 0) for core in reversed(cores))


def _weights_first(cores: Sequence[Real]) -> Cores:
    """The same train with orthonormal rows on the right of every cut."""
    turned = []
    weights = np.ones((1, 1))
    for core in reversed(cores):
        wide = np.tensordot(core, weights, axes=1)
        q, r = np.linalg.qr(wide.reshape(len(wide), -1).T)
        turned.append(q.T.reshape(-1, 3, wide.shape[2]))
        weights = r.T
    turned[-1] = np.tensordot(weights, turned[-1], axes=1)
    return tuple(turned[::-1])


def _filled(cores: Cores, sites: Sequence[Site], missing: set[Site]) -> Cores:
    own = iter(cores)
    filled: list[Real] = []
    rank = 1
    for site in sites:
        if site in missing:
            core = np.zeros((rank, 3, rank))
            core[:, 0] = np.eye(rank)
        else:
            core = next(own)
        filled.append(core)
        rank = core.shape[2]
    return tuple(filled)


def decompose(matrix: Real) -> tuple[Real, Real, Real]:
    """Its thin singular value decomposition, as numpy gives it.

    LAPACK's fast algorithm does not converge on some matrices with singular values near 0, but on their transpose.

    Raises:
        CompileError: it converges on neither.
    """
    try:
        return np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        try:
            v, values, u = np.linalg.svd(matrix.T, full_matrices=False)
        except np.linalg.LinAlgError as error:
            raise CompileError(
                f"circuit: found coefficients whose decomposition fails ({error}). Run this circuit on backend='aer'"
            ) from error
        return u.T, values, v.T


def _basis(matrix: Real) -> Real:
    """Orthonormal columns that span the columns of a matrix, up to the tolerance; at least one."""
    if matrix.shape[1] > matrix.shape[0]:
        matrix = np.linalg.qr(matrix.T)[1].T  # same column space and singular values, and square
    vectors, values, _ = decompose(matrix)
    return vectors[:, : max(1, int((values > TOLERANCE * values[0]).sum()))]


def _extended(basis: Real, matrix: Real) -> Real:
    """A basis with more orthonormal columns, so that it spans those of the matrix too, up to the tolerance."""
    if not basis.shape[1]:
        return _basis(matrix)
    least = TOLERANCE * float(np.linalg.norm(matrix))
    rest = matrix - basis @ (basis.T @ matrix)
    if np.linalg.norm(rest) <= least:
        return basis
    vectors, values, _ = decompose(rest)
    new = vectors[:, values > least]
    new = new - basis @ (basis.T @ new)  # once more: small values have made rounding errors large
    return np.concatenate([basis, np.linalg.qr(new)[0]], axis=1)
