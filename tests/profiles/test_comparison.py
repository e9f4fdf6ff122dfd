"""Two profiles beside each other: common sizes, prices of replicas, who is better."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sky_melange.domain.comparison import Better, ReplicaPrice
from sky_melange.domain.profile import Skipped
from sky_melange.domain.workload import Slo
from sky_melange.errors import MissingDataError
from sky_melange.prices import cheapest_replica
from sky_melange.profiles.grid import compare

SLO = Slo(tpot_s=0.05)


def priced(make_profile: Any, make_offer: Any, name: str, usd: float, **changes: Any) -> Any:
    return make_profile(name, **changes), ReplicaPrice(offer=make_offer(name, usd), replicas_per_instance=1)


def test_requests_per_dollar_by_hand(make_profile: Any, make_offer: Any) -> None:
    """At 8 requests of 100 output tokens: 8 ÷ (0.1 + 0.02 · 99) s, and four times that on the faster one."""
    slow = priced(make_profile, make_offer, "L4", 0.5)
    fast = priced(make_profile, make_offer, "H100", 4.0, speed=4.0)
    found = compare(slow, fast, SLO)
    rate_rps = 8 / (0.1 + 0.02 * 99)
    assert found.first.requests_per_usd(0, 0) == pytest.approx(rate_rps * 3600 / 0.5)
    assert found.second.requests_per_usd(0, 0) == pytest.approx(4 * rate_rps * 3600 / 4.0)
    assert found.advantage(0, 0) == pytest.approx(math.log(2))
    assert compare(fast, slow, SLO).advantage(0, 0) == pytest.approx(-math.log(2))


def test_where_one_cannot_serve_there_is_no_ratio(make_profile: Any, make_offer: Any) -> None:
    found = compare(
        priced(make_profile, make_offer, "L4", 0.5, speed=0.1), priced(make_profile, make_offer, "H100", 4.0), SLO
    )
    assert isinstance(found.first.requests_per_usd(0, 0), Skipped)
    assert found.advantage(0, 0) is None
    assert found.better(0, 0) is Better.SECOND


def test_a_size_that_a_profile_does_not_cover_has_no_winner(make_profile: Any, make_offer: Any) -> None:
    """Not to be known is not to be unable."""
    shapes = ((100, 100), (1000, 100))
    covers = priced(make_profile, make_offer, "L4", 1.0, shapes=shapes)
    other = priced(make_profile, make_offer, "H100", 1.0, shapes=((3000, 100), (5000, 100)))
    found = compare(covers, other, SLO)
    assert {found.better(row, 0) for row in range(4)} == {Better.UNKNOWN}
    slow = priced(make_profile, make_offer, "H100", 1.0, speed=0.1)
    assert compare(slow, slow, SLO).better(0, 0) is Better.NEITHER
    assert compare(covers, covers, SLO).better(0, 0) is Better.EQUAL


@pytest.mark.parametrize(
    ("first", "second", "inputs"),
    [
        (((100, 100), (900, 100)), ((300, 100), (2000, 100)), (300, 900)),
        (((100, 100), (200, 100)), ((300, 100), (400, 100)), (100, 200, 300, 400)),
        (((100, 100),), ((100, 100),), (100,)),
    ],
)
def test_sizes_are_those_that_both_cover(
    make_profile: Any, make_offer: Any, first: Any, second: Any, inputs: Any
) -> None:
    found = compare(
        priced(make_profile, make_offer, "L4", 1.0, shapes=first),
        priced(make_profile, make_offer, "H100", 1.0, shapes=second),
        SLO,
    )
    assert found.first.grid.input_tokens == found.second.grid.input_tokens == inputs
    assert found.first.grid.output_tokens == (100,)


def test_many_sizes_are_thinned_with_both_ends(make_profile: Any, make_offer: Any) -> None:
    shapes = tuple((size, 100) for size in range(100, 2600, 100))
    sides = [priced(make_profile, make_offer, name, 1.0, shapes=shapes) for name in ("L4", "H100")]
    sizes = compare(sides[0], sides[1], SLO).first.grid.input_tokens
    assert len(sizes) == 10
    assert (sizes[0], sizes[-1]) == (100, 2500)
    assert list(sizes) == sorted(set(sizes))


def test_the_cheapest_replica_of_whole_instances(make_offer: Any) -> None:
    offers = [
        make_offer("L4", 0.1, use_spot=True),
        make_offer("L4", 0.9),
        make_offer("L4", 6.0, accelerators_per_instance=8, instance_type="eight"),
        make_offer("H100", 0.2),
    ]
    one = cheapest_replica(offers, "L4", 1)
    assert (one.offer.instance_type, one.replicas_per_instance, one.usd_per_hour) == ("eight", 8, 0.75)
    two = cheapest_replica(offers, "L4", 2)
    assert (two.replicas_per_instance, two.usd_per_hour) == (4, 1.5)
    assert cheapest_replica(offers[::-1], "L4", 1) == one


@pytest.mark.parametrize(
    ("accelerator", "size", "words"), [("L4", 3, "there are instances of 1"), ("T4", 1, "it is not on offer")]
)
def test_no_price_says_what_there_is(make_offer: Any, accelerator: str, size: int, words: str) -> None:
    with pytest.raises(MissingDataError, match=words):
        cheapest_replica([make_offer("L4", 0.9)], accelerator, size)
