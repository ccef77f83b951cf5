import hashlib

import numpy as np
import pytest

from chainback import draw, rebuild
from chainback.errors import UsageError
from chainback.operations.activations import ACTIVATIONS
from chainback.problems.ensembles import ENSEMBLES, draw_unpadded, ensemble
from chainback.truth.chain_bound import envelope

NAMES = list(ENSEMBLES)


def arrays(case):
    return case.chain.weights, case.chain.biases, case.inputs, case.targets


@pytest.mark.parametrize("name", NAMES)
def test_a_case_id_alone_rebuilds_its_case(name: str) -> None:
    batch = draw(name, seed=42, depth=7, width=2, batch=3, rows=9)
    again = rebuild(batch.ids[6])
    assert again.ids == (batch.ids[6],)
    assert again.chain.activations == batch.chain.activations
    for one, many in zip(arrays(again), arrays(batch), strict=True):
        assert np.array_equal(one, many[6])
        assert one.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_a_case_does_not_depend_on_its_company(name: str) -> None:
    small = draw(name, seed=1, depth=5, width=1, batch=0, rows=3)
    large = draw(name, seed=1, depth=5, width=1, batch=0, rows=1025)
    for few, many in zip(arrays(small), arrays(large), strict=True):
        assert np.array_equal(few, many[:3])


@pytest.mark.parametrize("name", NAMES)
def test_seed_batch_and_shape_all_matter(name: str) -> None:
    base = {"seed": 1, "depth": 5, "width": 1, "batch": 0, "rows": 8}
    first = draw(name, **base)
    for change in ({"seed": 2}, {"batch": 1}, {"depth": 6}):
        other = draw(name, **(base | change))
        assert not np.array_equal(first.chain.weights[:, :5], other.chain.weights[:, :5])


@pytest.mark.parametrize("name", NAMES)
def test_depths_are_random_and_padding_is_exact_identity(name: str) -> None:
    depths = set()
    for batch in range(40):
        case = draw(name, seed=0, depth=9, width=2, batch=batch, rows=1)
        depth = 9
        while (
            depth
            and case.chain.activations[depth - 1] == "identity"
            and np.array_equal(case.chain.weights[0, depth - 1], np.eye(2))
            and not case.chain.biases[0, depth - 1].any()
        ):
            depth -= 1
        depths.add(depth)
    assert len(depths) >= 6
    assert 9 in depths


#: The bits of one batch of each ensemble. If one changes, its version must rise: an id must keep its meaning.
DIGESTS = {
    "lecture": (1, "27b483fd66d1482d"),
    "mixed": (1, "bfc430ad3134629a"),
    "alive": (1, "2050dae954ebbdd4"),
    "saturated": (1, "9695d02d31447acb"),
    "kinks": (1, "5d682a8314775472"),
    "tiny": (1, "35e6a1e0759f123d"),
    "huge": (1, "331153e99f1dc3e0"),
    "special": (1, "c63bd08faedac62b"),
    "wide": (1, "9c9f7555ec1fe235"),
    "deep": (2, "5182f442110175f3"),
}


def digest(name: str) -> str:
    case = draw(name, seed=5, depth=8, width=2, batch=2, rows=64)
    text = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays(case))
    return hashlib.sha256(text + ",".join(case.chain.activations).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", NAMES)
def test_versions_are_pinned(name: str) -> None:
    assert (ENSEMBLES[name].version, digest(name)) == DIGESTS[name]


def test_ensembles_do_what_they_say() -> None:
    def sample(name: str, depth: int = 8, width: int = 1):
        return [draw(name, seed=3, depth=depth, width=width, batch=b, rows=200) for b in range(12)]

    lecture = sample("lecture")
    assert all(set(c.chain.activations) <= {"sigmoid", "identity"} for c in lecture)
    assert abs(np.std(np.concatenate([c.chain.weights[:, 0].ravel() for c in lecture])) - 1) < 0.05
    assert {n for c in sample("mixed") for n in c.chain.activations} == set(ACTIVATIONS)
    alive = [np.abs(envelope(c).reference[:, :8]) for c in sample("alive")]
    assert np.median([np.median(a[:, 0]) for a in alive]) > 0.01
    saturated = [np.abs(envelope(c).truth.arguments) for c in sample("saturated")]
    assert np.mean([np.mean(z > 10) for z in saturated]) > 0.2
    kinks = [envelope(c).truth.arguments for c in sample("kinks")]
    assert np.mean([np.mean(z == 0) for z in kinks]) > 0.05
    tiny = [np.abs(envelope(c).reference) for c in sample("tiny")]
    assert np.mean([np.mean((g > 0) & (g < 2.0**-126)) for g in tiny]) > 0.01
    assert 0.02 < 1 - np.mean([envelope(c).decided.mean() for c in sample("huge")]) < 0.6
    deep = envelope(draw("deep", seed=0, depth=3000, width=1, batch=0, rows=3))
    assert deep.decided.all()
    assert np.median(deep.bound / np.abs(deep.reference)) < 0.01


def test_unknown_ensembles_and_versions_are_refused() -> None:
    with pytest.raises(UsageError, match="ensemble 'lectrue' is not known: use one of lecture"):
        ensemble("lectrue")
    with pytest.raises(UsageError, match="is of version 9 of ensemble lecture, which is at 1 here"):
        rebuild("lecture@9:0:8x1:3:17")
    with pytest.raises(UsageError, match="`rows` must be at least 1, got 0"):
        draw("lecture", seed=0, depth=1, width=1, batch=0, rows=0)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_chains_without_padding_are_drawn_where_all_layers_are_wanted(name: str) -> None:
    whole = draw_unpadded(name, seed=0, depth=6, width=2, rows=3, count=4)
    assert len({case.ids[0] for case in whole}) == 4
    for case in whole:
        layer = case.chain.weights[:, -1], case.chain.biases[:, -1]
        assert case.chain.activations[-1] != "identity" or not (
            np.array_equal(layer[0][0], np.eye(2)) and not layer[1].any()
        )
        assert rebuild(case.ids[1]).chain.activations == case.chain.activations
    some = [draw(name, seed=0, depth=6, width=2, batch=batch, rows=3).ids[0] for batch in range(40)]
    assert {case.ids[0] for case in whole} < set(some)
