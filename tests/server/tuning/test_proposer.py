from __future__ import annotations

from server.tuning.proposer import Proposer
from server.tuning.settings import differences, with_values
from server.tuning.space import Dimension, Space
from tests.server.tuning.fake_measurer import DEFAULTS, SPACE


def test_first_every_value_in_the_best_so_far() -> None:
    proposer = Proposer(SPACE)
    best, seen = DEFAULTS, []
    for _ in SPACE.changes():
        found = proposer.next(best)
        assert found is not None
        assert len(differences(found, best)) == 1
        seen.append(next(iter(differences(found, best).items())))
        proposer.report(found, 0.1 if found.kv_unified else -0.1)
        best = found if found.kv_unified else best
    assert seen == SPACE.changes()


def test_then_what_the_search_likes_each_once_until_all_are_known() -> None:
    small = Space(SPACE.dimensions[:2], DEFAULTS, ())
    proposer = Proposer(small)
    seen = {DEFAULTS}
    while (found := proposer.next(DEFAULTS)) is not None:
        assert found not in seen
        seen.add(found)
        proposer.report(found, None if found.spin_count == 0 else 0.0)
    assert small.size - 2 <= len(seen) <= small.size


def test_a_space_of_one_has_nothing_to_try() -> None:
    assert Proposer(Space((), DEFAULTS, ())).next(DEFAULTS) is None


def test_it_finds_a_combination_that_no_single_change_shows() -> None:
    sizes = Dimension("n_ubatch", (64, 128, 256, 512), ordered=True)
    pair = Space((sizes, Dimension("kv_unified", (False, True))), DEFAULTS, ())
    wanted = with_values(DEFAULTS, n_ubatch=64, kv_unified=True)
    proposer = Proposer(pair)
    tried = []
    while (found := proposer.next(DEFAULTS)) is not None:
        tried.append(found)
        proposer.report(found, 0.5 if found == wanted else -0.1)
    assert wanted in tried
