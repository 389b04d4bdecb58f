"""The linear algebra of the fast method, compiled: dense, symmetric, a hundred rows or so.

Written out because at this size the calls cost more than the sums, and so that neither the number
of threads nor the BLAS of a machine has a say in the weights.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, error_model="numpy")
#: sums that may be taken in any order, which is what lets them be taken eight at a time
summing = numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@summing
def dot(a: np.ndarray, b: np.ndarray, count: int) -> float:
    """The inner product of the first `count` entries."""
    total = 0.0
    for i in range(count):
        total += a[i] * b[i]
    return total


@compiled
def largest(vector: np.ndarray) -> float:
    """The largest absolute value."""
    found = 0.0
    for i in range(len(vector)):
        found = max(found, abs(vector[i]))
    return found


@compiled
def times(matrix: np.ndarray, vector: np.ndarray, into: np.ndarray) -> None:
    """Matrix, (r, n), times vector, (n,), into the first r entries."""
    for i in range(len(matrix)):
        into[i] = dot(matrix[i], vector, len(vector))


@compiled
def add_rows(matrix: np.ndarray, weight: np.ndarray, into: np.ndarray) -> None:
    """Add the rows of a matrix, (r, n), each times its weight, to a vector, (n,)."""
    for k in range(len(matrix)):
        for j in range(matrix.shape[1]):
            into[j] += weight[k] * matrix[k, j]


@compiled
def add_squares(matrix: np.ndarray, rows: np.ndarray, weight: np.ndarray) -> None:
    """Add rows' diag(weight) rows to the lower half of a matrix; zeros cost nothing."""
    for i in range(len(matrix)):
        for k in range(len(rows)):
            factor = weight[k] * rows[k, i]
            if factor != 0.0:
                for j in range(i + 1):
                    matrix[i, j] += factor * rows[k, j]


@summing
def factorise(matrix: np.ndarray) -> bool:
    """Cholesky's factor in place of the lower half; False where there is none.

    Four rows at a time share each row that they are multiplied with.
    """
    n = len(matrix)
    for first in range(0, n, 4):
        last = min(first + 4, n)
        for j in range(first):
            if last - first == 4:
                eliminate(matrix, first, j)
            else:
                for i in range(first, last):
                    matrix[i, j] = (matrix[i, j] - dot(matrix[i], matrix[j], j)) / matrix[j, j]
        for i in range(first, last):
            for j in range(first, i):
                matrix[i, j] = (matrix[i, j] - dot(matrix[i], matrix[j], j)) / matrix[j, j]
            square = matrix[i, i] - dot(matrix[i], matrix[i], i)
            if not square > 0.0:
                return False
            matrix[i, i] = np.sqrt(square)
    return True


@summing
def eliminate(matrix: np.ndarray, first: int, j: int) -> None:
    """The entries of four rows in column j."""
    a = b = c = d = 0.0
    for k in range(j):
        x = matrix[j, k]
        a += matrix[first, k] * x
        b += matrix[first + 1, k] * x
        c += matrix[first + 2, k] * x
        d += matrix[first + 3, k] * x
    pivot = 1.0 / matrix[j, j]
    matrix[first, j] = (matrix[first, j] - a) * pivot
    matrix[first + 1, j] = (matrix[first + 1, j] - b) * pivot
    matrix[first + 2, j] = (matrix[first + 2, j] - c) * pivot
    matrix[first + 3, j] = (matrix[first + 3, j] - d) * pivot


@compiled
def solved(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x with L L' x = right, L the lower half of `factor`."""
    x = right.copy()
    for i in range(len(x)):
        x[i] = (x[i] - dot(factor[i], x, i)) / factor[i, i]
    for i in range(len(x) - 1, -1, -1):
        x[i] /= factor[i, i]
        for j in range(i):
            x[j] -= x[i] * factor[i, j]
    return x
