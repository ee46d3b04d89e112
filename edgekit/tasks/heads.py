"""Find a network's outputs by the role that the recipe gives them, and check them before anything is read from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, UsageError
from edgekit.recipes import Recipe, Role
from edgekit.schema import Strict
from edgekit.tasks.base import Array

DecoderT = TypeVar("DecoderT", bound=Strict)


def decoder_of(recipe: Recipe, kind: type[DecoderT]) -> DecoderT:
    """Return the recipe's decoder parameters as `kind`.

    Raises:
        UsageError: The recipe is of another family.
    """
    if isinstance(recipe.decoder, kind):
        return recipe.decoder
    raise UsageError(
        problem=f"The recipe '{recipe.name}' cannot be decoded as {kind.__name__}.",
        found=f"decoder.family = '{recipe.decoder.family}'",
        fix="Use edgekit.tasks.task_for, which chooses the decoder by the family.",
    )


def heads_with(recipe: Recipe, role: Role) -> list[str]:
    """Return the names of all heads of a role, in the recipe's order."""
    return [name for name, head in recipe.heads.items() if head.role == role]


def head_with(recipe: Recipe, role: Role) -> str:
    """Return the name of the one head of a role.

    Raises:
        UsageError: No head has the role, or several have it.
    """
    names = heads_with(recipe, role)
    if len(names) == 1:
        return names[0]
    raise role_error(recipe, role)


def role_error(recipe: Recipe, role: Role) -> UsageError:
    """Say that the recipe's heads do not offer a role (or offer it more than once)."""
    heads = ", ".join(f"{name} ({head.role})" for name, head in recipe.heads.items()) or "none"
    several = len(heads_with(recipe, role)) > 1
    return UsageError(
        problem=f"The recipe '{recipe.name}' needs {'exactly one' if several else 'a'} head with the role '{role}', "
        f"because it decodes {recipe.decoder.family}.",
        found=f"heads: {heads}",
        fix=f"Give role = '{role}' to the {'one head' if several else 'head'} that carries it, under [heads.<name>].",
    )


def read_head(heads: Mapping[str, Array], name: str, shape: tuple[int | str, ...]) -> NDArray[np.float32]:
    """Return one output without its batch axis, as float32.

    A value that is not finite is an error and never "no lanes": every comparison with NaN is false, so that a broken
    network would otherwise look like an empty road.

    Args:
        heads: Outputs by head name, each with a batch axis of 1.
        name: The head.
        shape: The expected shape behind the batch axis: a number is held to, a word names a free length.

    Raises:
        UsageError: The network has no such output, or its shape is another; the recipe does not fit the model.
        ArtifactError: A value is NaN or infinite.
    """
    if name not in heads:
        raise UsageError(
            problem=f"The network gives no output for the head '{name}'.",
            found=f"outputs: {', '.join(heads) or 'none'}",
            fix=f"Set heads.{name}.output in the recipe to the name of the model's output.",
        )
    array = np.asarray(heads[name])
    fits = len(array.shape) == len(shape) + 1 and all(
        isinstance(expected, str) or expected == length
        for expected, length in zip((1, *shape), array.shape, strict=True)
    )
    if not fits or array.size == 0:
        raise UsageError(
            problem=f"The output for the head '{name}' has a shape that this recipe does not decode.",
            found=f"{' x '.join(map(str, array.shape))}; expected {' x '.join(map(str, (1, *shape)))}",
            fix="Use the recipe of this model's family (`edgekit recipes list`), or correct the role of the head.",
        )
    values: NDArray[np.float32] = array[0].astype(np.float32, copy=False)
    require_finite(values, name)
    return values


@contextmanager
def on_frame(name: str) -> Iterator[None]:
    """Name the frame in the error of an output that is not finite, which is raised within.

    Raises:
        ArtifactError: The same, with the frame.
    """
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(
            problem=error.problem,
            found=f"{error.found}, on the frame {name}",
            fix="Leave the frame out if it shows nothing that the network should see. Otherwise mend the network: a "
            "division, a root or a logarithm in it has no result there.",
        ) from error


def require_finite(values: Array, name: str) -> None:
    """Check that an output holds numbers only.

    Raises:
        ArtifactError: A value is NaN or infinite.
    """
    # The least and the greatest value carry any NaN, and cost no array of the size of the output.
    if np.isfinite(values.min()) and np.isfinite(values.max()):
        return
    raise ArtifactError(
        problem=f"The network's output '{name}' is not finite, so what it shows is unknown.",
        found=f"{np.count_nonzero(~np.isfinite(values))} of {values.size} values are NaN or infinite",
        fix="Do not use this model. `edgekit verify` tells whether its bundle is sound; if it is, look at the frame.",
    )
