from houyi.base.ids import RandomIds, SeededIds, digest
from houyi.model.names import is_id


def test_a_seed_repeats() -> None:
    one, two = SeededIds(7), SeededIds(7)
    assert [one.new(), one.secret(), one.uniform(0, 1)] == [two.new(), two.secret(), two.uniform(0, 1)]
    assert SeededIds(8).new() != SeededIds(7).new()


def test_ids_have_the_shape_of_ids_and_differ() -> None:
    for ids in (RandomIds(), SeededIds(1)):
        made = {ids.new() for _ in range(100)}
        assert len(made) == 100
        assert all(is_id(each) for each in made)


def test_a_digest_is_sha256() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
