"""Outputs of which no meaning is known: they are compared as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.recipes import GenericDecoder, Recipe
from edgekit.tasks.base import Agreement, Array, FrameGeometry, Scene
from edgekit.tasks.heads import decoder_of, require_finite


@dataclass(frozen=True)
class GenericTask:
    """Keeps the outputs and compares them by their signal-to-noise ratio."""

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> GenericTask:
        """Build the task of a recipe; it needs no role."""
        decoder_of(recipe, GenericDecoder)
        return cls()

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Keep every output as it is.

        Raises:
            ArtifactError: An output holds NaN or infinity.
        """
        for name, values in heads.items():
            if values.size and np.issubdtype(values.dtype, np.floating):
                require_finite(values, name)
        return Scene(lanes=(), geometry=geometry, tensors=dict(heads))

    def compare(self, reference: Scene, candidate: Scene) -> Agreement:
        """Sum the squares of the reference's tensors and of the differences to them, in float64.

        Raises:
            ArtifactError: The two scenes hold other tensors.
        """
        one = {name: values.shape for name, values in reference.tensors.items()}
        two = {name: values.shape for name, values in candidate.tensors.items()}
        if one != two:
            raise ArtifactError(
                problem="The two networks' outputs cannot be compared.",
                found=f"{one} against {two}",
                fix="Compare networks that have the same outputs.",
            )
        signal = noise = 0.0
        for name, values in reference.tensors.items():
            expected = np.asarray(values, np.float64).ravel()
            difference = np.asarray(candidate.tensors[name], np.float64).ravel() - expected
            signal += float(expected @ expected)
            noise += float(difference @ difference)
        return Agreement(frames=1, signal=signal, noise=noise)
