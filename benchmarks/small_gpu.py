"""Where a small GPU beats a large one per dollar: the finding of the Mélange paper (arXiv 2404.14527), by estimates.

    python -m benchmarks.small_gpu

Llama-2-7B at the paper's prices (A10G 1.01, A100-80GB 3.67 USD/h) and its TPOT target of 120 ms: requests per dollar
of the A10G ÷ those of the A100, where an engine runs at most so many requests at once and loses so much time at each
step. The first line is today's engine as estimated.
"""

from __future__ import annotations

from typing import Final

from sky_melange.domain.profile import Profile
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.capacity import profile_curve
from sky_melange.profiles.roofline import estimate

MODEL: Final = "meta-llama/Llama-2-7b-hf"
USD_PER_HOUR: Final = {"A10G": 1.01, "A100-80GB": 3.67}
TPOT_S: Final = 0.12
SIZES: Final = ((25, 25), (25, 100), (100, 100), (250, 250), (1000, 1000))
ENGINES: Final = ((512, 0.0), (256, 0.0), (256, 0.02), (64, 0.0), (64, 0.01), (64, 0.03))
"""(most requests at once, seconds lost at each step)."""


def requests_per_usd(profile: Profile, size: tuple[int, int], most: int, lost_s: float) -> float:
    """At the best concurrency within the target."""
    curve = profile_curve(profile, *size)
    assert isinstance(curve, tuple), curve
    rates = [
        running / (ttft_s + lost_s + (tpot_s + lost_s) * (size[1] - 1))
        for running, ttft_s, tpot_s in curve
        if running <= most and tpot_s + lost_s <= TPOT_S
    ]
    return max(rates, default=0.0) * 3600 / USD_PER_HOUR[profile.key.accelerator]


def main() -> None:
    """Prints the table."""
    shape = known_models()[MODEL]
    small, large = (estimate(shape, name, tensor_parallel=1, dtype="float16") for name in USD_PER_HOUR)
    assert isinstance(small, Profile)
    assert isinstance(large, Profile)
    print("| at once | lost a step |", " | ".join(f"{i} × {o}" for i, o in SIZES), "|")
    print("| ---: | ---: |", " | ".join("---:" for _ in SIZES), "|")
    for most, lost_s in ENGINES:
        ratios = [
            requests_per_usd(small, size, most, lost_s) / requests_per_usd(large, size, most, lost_s) for size in SIZES
        ]
        print(f"| {most} | {lost_s * 1000:g} ms |", " | ".join(f"{ratio:.2f}" for ratio in ratios), "|")


if __name__ == "__main__":
    main()
