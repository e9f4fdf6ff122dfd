"""Roofline profiles for accelerators that have no other: made only when the workload asks for them."""

from __future__ import annotations

from collections.abc import Iterable

from sky_melange.domain.profile import Profile, Skipped
from sky_melange.domain.workload import Model
from sky_melange.errors import MissingDataError
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.checkpoint import sizes_of, unknown_model
from sky_melange.profiles.model_shape import ModelShape
from sky_melange.profiles.roofline import COMPARED_TOKENS, ENGINE, TENSOR_PARALLEL_SIZES, estimate


def model_shape(model: str) -> ModelShape:
    """The sizes of a known model. Raises MissingDataError with the nearest ones."""
    shape = known_models().get(model)
    if shape is None:
        raise MissingDataError(unknown_model(model))
    return shape


def shape_of(model: Model) -> ModelShape:
    """The sizes of a workload's model, or of the one that `profile_as` names. Raises MissingDataError without any."""
    if model.sizes is not None and model.profile_as is None:
        return sizes_of(model.sizes, model.id).shape
    return model_shape(model.profiled_id)


def has_shape(model: Model) -> bool:
    """Whether `shape_of` knows the sizes."""
    return (model.sizes is not None and model.profile_as is None) or model.profiled_id in known_models()


def estimated_profiles(
    shape: ModelShape,
    dtype: str,
    engine: str,
    accelerators: Iterable[str],
    longest: tuple[int, int] = COMPARED_TOKENS,
) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
    """Profiles of every layout that can be estimated, and one sentence for each accelerator without any.

    They go to `longest` input and output tokens at least.
    """
    if engine != ENGINE:
        return (), (f"Estimates are of {ENGINE}, not of {engine}.",)
    profiles, remarks = [], []
    for accelerator in sorted(set(accelerators)):
        results = [
            estimate(shape, accelerator, tensor_parallel=n, dtype=dtype, longest=longest) for n in TENSOR_PARALLEL_SIZES
        ]
        found = [result for result in results if isinstance(result, Profile)]
        profiles += found
        reasons = [result.detail for result in results if isinstance(result, Skipped)]
        if not found and reasons:
            remarks.append(f"No estimate for {accelerator}: {reasons[0]}.")
    return tuple(profiles), tuple(remarks)
