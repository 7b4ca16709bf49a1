"""Parameters of indexes and searches: ranges, defaults, unknown names."""

import pytest

from mishards.core.errors import InvalidParameter
from mishards.index.registry import family


def test_defaults_are_filled_in():
    assert family("HNSW").check_build({}, 8) == {"M": "18", "efConstruction": "240"}
    assert family("IVF_FLAT").check_build({}, 8) == {"nlist": "128"}
    assert family("IVF_PQ").check_build({"m": "4"}, 8) == {"nlist": "128", "m": "4", "nbits": "8"}
    assert family("FLAT").check_build({}, 8) == {}
    assert family("IVF_SQ8").check_search({}, 10) == {"nprobe": 8}


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("HNSW", {"M": "1"}, r"'M' \(1\) should be in range \[2, 2048\]"),
        ("HNSW", {"M": "2049"}, r"range \[2, 2048\]"),
        ("HNSW", {"M": "16.0"}, "should be an integer"),
        ("HNSW", {"M": True}, "should be an integer"),
        ("HNSW", {"efConstruction": "0"}, "efConstruction"),
        ("IVF_FLAT", {"nlist": "0"}, r"range \[1, 65536\]"),
        ("IVF_FLAT", {"nlist": "65537"}, r"range \[1, 65536\]"),
        ("IVF_PQ", {}, "'m' is missing"),
        ("IVF_PQ", {"m": "3"}, r"'m' \(3\) should divide .*\(8\)"),
        ("IVF_PQ", {"m": "4", "nbits": "3"}, r"'nbits' \(3\) should be in range \[4, 16\]"),
        ("HNSW", {"efconstruction": "8"}, "'efconstruction'; known are: M, efConstruction"),
        ("FLAT", {"wrong": "1"}, "'wrong'; known are: none"),
    ],
)
def test_bad_build_parameters_are_refused(name, params, says):
    with pytest.raises(InvalidParameter, match=says):
        family(name).check_build(params, 8)


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("HNSW", {"ef": 9}, r"ef\(9\) should be larger than k\(10\)"),
        ("HNSW", {"ef": -1}, r"'ef' \(-1\) should be in range \[1, 2147483647\]"),
        ("HNSW", {"ef": [32]}, "should be an integer"),
        ("HNSW", {"level": 11}, r"range \[1, 10\]"),
        ("IVF_FLAT", {"nprobe": 0}, "nprobe"),
        ("IVF_FLAT", {"nprob": 8}, "'nprob'; known are: nprobe"),
        ("FLAT", {"radius": 1.0}, "'radius'"),
    ],
)
def test_bad_search_parameters_are_refused(name, params, says):
    with pytest.raises(InvalidParameter, match=says):
        family(name).check_search(params, 10)


def test_text_and_numbers_are_equal():
    hnsw = family("HNSW")
    assert hnsw.check_search({"ef": "32"}, 10) == hnsw.check_search({"ef": 32}, 10) == {"ef": 32}


def test_parameters_of_other_families_are_left_out():
    assert family("HNSW").check_search({"nprobe": 16, "ef": 40}, 10) == {"ef": 40}
    built = family("FLAT").check_build({"nlist": "64", "mmap.enabled": "true"}, 8)
    assert built == {}


def test_ef_without_a_wish_leaves_room_and_grows_with_level_and_k():
    hnsw = family("HNSW")
    chosen = [hnsw.check_search({"level": level}, 10)["ef"] for level in range(1, 11)]
    assert chosen == sorted(set(chosen))
    assert hnsw.check_search({}, 10)["ef"] == chosen[0] >= 64
    assert hnsw.check_search({}, 16_384)["ef"] > 16_384


def test_autoindex_is_hnsw():
    assert family("AUTOINDEX").name == family("").name == "HNSW"


@pytest.mark.parametrize("name", ["HNWS", "hnsw", "os:getcwd", "IVF_RABITQ"])
def test_an_unknown_family_lists_the_known(name):
    with pytest.raises(InvalidParameter, match=name):
        family(name)
