"""Roofline profiles for accelerators that have no other: made only when the workload asks for them."""

from __future__ import annotations

from collections.abc import Iterable

from sky_melange.domain.profile import Profile, Skipped
from sky_melange.errors import MissingDataError
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.model_shape import ModelShape
from sky_melange.profiles.roofline import ENGINE, TENSOR_PARALLEL_SIZES, estimate


def model_shape(model: str) -> ModelShape:
    """The sizes of a known model. Raises MissingDataError with the known ones."""
    shape = known_models().get(model)
    if shape is None:
        have = "\n".join(f"  {name}" for name in sorted(known_models()))
        raise MissingDataError(
            f"the sizes of {model} are not known, so it cannot be estimated; `sky-melange profiles estimate --config "
            f"config.json` reads them from the model's own configuration. Known are\n{have}"
        )
    return shape


def estimated_profiles(
    model: str, dtype: str, engine: str, accelerators: Iterable[str]
) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
    """Profiles of every layout that can be estimated, and one sentence for each accelerator without any."""
    if engine != ENGINE:
        return (), (f"Estimates are of {ENGINE}, not of {engine}.",)
    shape = model_shape(model)
    profiles, remarks = [], []
    for accelerator in sorted(set(accelerators)):
        results = [estimate(shape, accelerator, tensor_parallel=n, dtype=dtype) for n in TENSOR_PARALLEL_SIZES]
        found = [result for result in results if isinstance(result, Profile)]
        profiles += found
        reasons = [result.detail for result in results if isinstance(result, Skipped)]
        if not found and reasons:
            remarks.append(f"No estimate for {accelerator}: {reasons[0]}.")
    return tuple(profiles), tuple(remarks)
