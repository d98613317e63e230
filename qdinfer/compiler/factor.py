"""Many polynomials at once, as a bilinear form of two small feature vectors.

The sites are cut in two halves A and B. With φ_A and φ_B the products of the features on each side, every observable is
φ_Aᵀ·C·φ_B. The matrices C share their row and column spaces, whose joint ranks are far below 3^|A| and 3^|B|, so that
⟨O_j⟩ = (φ_A·U)ᵀ · G_j · (φ_B·V) with thin U and V and small cores G_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .propagate import Polynomial, Real, Site

__all__ = ["Block", "factor"]

MAX_SITES = 13
"""Sites that are cut together: 3¹³ coefficients an observable."""
_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Block:
    """Some observables in factored form.

    Attributes:
        observables: (m,) their positions.
        left, right: the sites of the two halves; the features' product runs over the last site fastest.
        left_basis: U, (3^|left|, r).
        right_basis: V, (3^|right|, s).
        cores: G, (m, r, s).
    """

    observables: tuple[int, ...]
    left: tuple[Site, ...]
    right: tuple[Site, ...]
    left_basis: Real
    right_basis: Real
    cores: Real

    @property
    def cost(self) -> int:
        """Multiply-adds a row of angles."""
        return self.left_basis.size + self.right_basis.size + self.cores.size


def factor(polynomials: Sequence[Polynomial]) -> list[Block]:
    """Group the observables so that no group has over `MAX_SITES` sites, unless one alone has, and factor each."""
    return [_halve(group, polynomials) for group in _groups(polynomials)]


def _groups(polynomials: Sequence[Polynomial]) -> list[list[int]]:
    groups: list[tuple[list[int], set[Site]]] = []
    for j, polynomial in enumerate(polynomials):
        sites = set(polynomial.sites)
        for members, union in groups:
            if len(union | sites) <= MAX_SITES:
                members.append(j)
                union |= sites
                break
        else:
            groups.append(([j], sites))
    return [members for members, _ in groups]


def _halve(group: list[int], polynomials: Sequence[Polynomial]) -> Block:
    sites = sorted({site for j in group for site in polynomials[j].sites}, key=lambda site: site.number)
    sites += [Site(-1 - i, 0, 1.0) for i in range(2 - len(sites))]  # neither half may be empty: only their 1 is used
    cut = len(sites) // 2
    tensors = np.stack([_embed(polynomials[j], sites) for j in group])
    matrices = tensors.reshape(len(group), 3**cut, -1)
    left = _basis(np.concatenate(list(matrices), axis=1))
    halfway = left.T @ matrices
    right = _basis(np.concatenate([matrix.T for matrix in halfway], axis=1))
    return Block(tuple(group), tuple(sites[:cut]), tuple(sites[cut:]), left, right, halfway @ right)


def _embed(polynomial: Polynomial, sites: Sequence[Site]) -> Real:
    """The coefficients with an axis for each of the sites; one that it does not depend on enters by its 1."""
    full = np.zeros((3,) * len(sites))
    own = tuple(slice(None) if site in polynomial.sites else 0 for site in sites)
    full[own] = polynomial.coefficients
    return full


def _basis(matrix: Real) -> Real:
    """Orthonormal columns that span the columns of a wide matrix, up to the tolerance."""
    used = matrix.any(axis=1)
    if not used.any():
        return np.eye(len(matrix), 1)
    wide = matrix[used][:, matrix.any(axis=0)]
    core: Real = np.linalg.qr(wide.T)[1].T  # same column space and singular values, and square
    vectors, values, _ = np.linalg.svd(core, full_matrices=False)
    rank = int((values > _RANK_TOLERANCE * values[0]).sum())
    basis = np.zeros((len(matrix), rank))
    basis[used] = vectors[:, :rank]
    return basis
