"""Hashing, tiles and proofs, against vectors and against a plain second reading of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.plain import PlainTiles, mth, numbered, path, proof

from failshut_ledger.errors import Malformed, NotConsistent, NotIncluded, TooLong
from failshut_ledger.merkle.frontier import Frontier, Tile
from failshut_ledger.merkle.hashing import EMPTY_ROOT, joined, leaf_hash, node_hash, perfect_hash
from failshut_ledger.merkle.proofs import (
    prove_consistency,
    prove_inclusion,
    root_from,
    root_within,
    verify_consistency,
    verify_inclusion,
)
from failshut_ledger.merkle.tiles import (
    ENTRIES,
    SIZE_MAX,
    TileId,
    bundle_of,
    hashes_of,
    leaves_of,
    tile_at,
    tile_of,
    tiles_of,
)

#: The eight leaves, and the roots of their trees, with which Certificate Transparency has always tested RFC 6962.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: Around every edge of a tile of the two lowest levels, without a tree too large for a slow reading.
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([255, 256, 257, 511, 512, 513, 700, 1025]))


def frontier_of(count: int) -> tuple[Frontier, dict[TileId, Tile]]:
    edge = Frontier()
    tiles = {tile.id: tile for tile in edge.append(leaf_hash(leaf) for leaf in numbered(count))}
    return edge, tiles | {tile.id: tile for tile in edge.partials()}


class Made:
    """Tiles that a frontier gave out."""

    def __init__(self, tiles: dict[TileId, Tile]) -> None:
        self.tiles = tiles

    def hashes(self, tile: TileId) -> tuple[bytes, ...]:
        return self.tiles[tile].hashes


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    """The first trees have the roots that every implementation of RFC 6962 gives them."""
    edge = Frontier()
    edge.append(map(leaf_hash, CT_LEAVES[:size]))
    assert edge.root().hex() == CT_ROOTS[size]
    assert mth(CT_LEAVES[:size]).hex() == CT_ROOTS[size]


def test_three_leaves_by_hand() -> None:
    """The tree of three leaves is a node over (a node over the first two, the third)."""
    a, b, c = (hashlib.sha256(b"\0" + leaf).digest() for leaf in (b"a", b"b", b"c"))
    ab = hashlib.sha256(b"\1" + a + b).digest()
    root = hashlib.sha256(b"\1" + ab + c).digest()
    edge = Frontier()
    edge.append([a, b, c])
    assert (edge.root(), leaf_hash(b"a"), node_hash(a, b)) == (root, a, ab)
    verify_inclusion(c, 2, 3, [ab], root)
    verify_inclusion(a, 0, 3, [b, c], root)
    verify_consistency(2, ab, 3, root, [c])
    assert EMPTY_ROOT == hashlib.sha256(b"").digest() == Frontier().root()


def test_only_perfect_rows_are_hashed_as_such() -> None:
    """A number of hashes that is no power of two has no perfect hash, and none has none."""
    for count in (0, 3, 6):
        with pytest.raises(ValueError, match="no perfect tree"):
            perfect_hash([EMPTY_ROOT] * count)
    assert joined([]) is None


@settings(max_examples=draws(60), deadline=None)
@given(SIZES)
def test_a_frontier_gives_out_the_tiles_of_the_specification(count: int) -> None:
    """Every tile, its width and each of its hashes is what tlog-tiles defines over the leaves; no other is given out."""
    edge, tiles = frontier_of(count)
    plain = PlainTiles(numbered(count))
    assert edge.root() == mth(numbered(count))
    assert plain.there <= tiles.keys()
    assert all(list(tiles[tile].hashes) == plain.hashes(tile) for tile in plain.there)
    assert root_from(plain, count) == edge.root()


@settings(max_examples=draws(60), deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6))
def test_batches_do_not_matter(batches: list[int]) -> None:
    """However leaves are divided into batches, and whether a frontier is copied between, the tree is the same."""
    leaves, edge = numbered(sum(batches)), Frontier()
    at = 0
    for count in batches:
        before = edge.copy()
        edge.append(leaf_hash(leaf) for leaf in leaves[at : at + count])
        assert before.size == at
        again = Frontier(edge.size, [tile_hashes(edge, level) for level in range(8)])
        assert again.root() == edge.root()
        at += count
    assert edge.root() == frontier_of(sum(batches))[0].root()


def tile_hashes(edge: Frontier, level: int) -> tuple[bytes, ...]:
    return next((tile.hashes for tile in edge.partials() if tile.id.level == level), ())


def test_an_edge_of_another_size_is_refused() -> None:
    """The hashes of an edge must be as many as the size says, and each of 32 bytes."""
    for size, edge in ((2, [[b"x" * 32]]), (256, [[b"x" * 32]]), (1, [[b"x" * 31]]), (1, [])):
        with pytest.raises(Malformed):
            Frontier(size, edge)
    full = Frontier(SIZE_MAX, [[b"x" * 32] * (255 if level < 7 else 127) for level in range(8)])
    with pytest.raises(Malformed, match="full"):
        full.append([b"x" * 32])


@settings(max_examples=draws(80), deadline=None)
@given(SIZES, st.data())
def test_inclusion_is_proven_and_nothing_else(count: int, data: st.DataObject) -> None:
    """A proof is PATH of the RFC, verifies, and does not once a bit, the place, the size, the leaf or its length changes."""
    index = data.draw(st.integers(0, count - 1))
    leaves, (edge, tiles) = numbered(count), frontier_of(count)
    found = prove_inclusion(Made(tiles), index, count)
    assert found == path(index, leaves)
    leaf, root = leaf_hash(leaves[index]), edge.root()
    verify_inclusion(leaf, index, count, found, root)
    wrong: list[tuple[bytes, int, int, list[bytes], bytes]] = [
        (flipped(leaf, data), index, count, found, root),
        (leaf, index, count, found, flipped(root, data)),
        (leaf, index, count, [*found, root], root),
        (leaf, -1, count, found, root),
        (leaf, count, count, found, root),
        (leaf, index, 2**63, found, root),
    ]
    if count > 1:
        place = data.draw(st.integers(0, len(found) - 1))
        wrong += [
            (leaf, (index + 1) % count, count, found, root),
            (leaf, index, count, found[:-1], root),
            (leaf, index, count, [*found[:place], flipped(found[place], data), *found[place + 1 :]], root),
            (leaf, index, count, [*found[:place], found[place][:31], *found[place + 1 :]], root),
        ]
    for one in wrong:
        with pytest.raises(NotIncluded):
            verify_inclusion(*one)


@settings(max_examples=draws(80), deadline=None)
@given(SIZES, st.data())
def test_consistency_is_proven_and_nothing_else(new: int, data: st.DataObject) -> None:
    """A proof is PROOF of the RFC, verifies, and does not once a bit, a size, a root or its length changes."""
    old = data.draw(st.integers(0, new))
    leaves, (edge, tiles) = numbered(new), frontier_of(new)
    found = prove_consistency(Made(tiles), old, new)
    if old:
        assert found == proof(old, leaves)
    old_root, new_root = mth(leaves[:old]), edge.root()
    verify_consistency(old, old_root, new, new_root, found)
    wrong = [
        (old, flipped(old_root, data), new, new_root, found),
        (new + 1, old_root, new, new_root, found),
        (-1, old_root, new, new_root, found),
        (old, old_root, new, new_root, [*found, new_root]),
        (old, old_root, new, new_root, [new_root] * 64),
    ]
    if 0 < old < new:
        place = data.draw(st.integers(0, len(found) - 1))
        wrong += [
            (old, old_root, new, flipped(new_root, data), found),
            (old, old_root, new, new_root, found[:-1]),
            (old, old_root, new, new_root, [*found[:place], flipped(found[place], data), *found[place + 1 :]]),
            (old, mth([*leaves[: old - 1], b"another"]), new, new_root, found),
        ]
    for one in wrong:
        with pytest.raises(NotConsistent):
            verify_consistency(*one)


def flipped(data: bytes, draw: st.DataObject) -> bytes:
    bit = draw.draw(st.integers(0, len(data) * 8 - 1))
    return bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(data))


@settings(max_examples=draws(200), deadline=None)
@given(size=SIZES, data=st.data())
def test_the_root_of_the_first_leaves_needs_no_tree_of_that_size(size: int, data: st.DataObject) -> None:
    """Only tiles of the tree that there is are asked for: others may never have been written."""
    tiles = PlainTiles(numbered(size))
    old = data.draw(st.integers(0, size))
    assert root_within(tiles, old, size) == mth(numbered(size)[:old])
    for wrong in (-1, size + 1):
        with pytest.raises(Malformed):
            root_within(tiles, wrong, size)


def test_what_is_not_there_is_not_proven() -> None:
    """No proof is made for a leaf or a tree that is not there."""
    _, tiles = frontier_of(3)
    for index, size in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(Malformed):
            prove_inclusion(Made(tiles), index, size)
    with pytest.raises(Malformed):
        prove_consistency(Made(tiles), 4, 3)
    assert root_from(Made({}), 0) == EMPTY_ROOT


def test_paths_are_those_of_the_specification() -> None:
    """The examples of tlog-tiles, and the way back."""
    assert TileId(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert TileId(1, 5, 17).path == "tile/1/005.p/17"
    assert TileId(ENTRIES, 999, 256).path == "tile/entries/999"
    assert TileId(ENTRIES, 1000, 1).path == "tile/entries/x001/000.p/1"
    for tile in (TileId(0, 1234067, 256), TileId(7, 0, 1), TileId(ENTRIES, 10**9, 255), TileId(3, 0, 256)):
        assert tile_at(tile.path) == tile


@pytest.mark.parametrize(
    "wrong",
    [
        *("tile/0/67", "tile/0/x001/67", "tile/0/001/067", "tile/0/x000/067", "tile/00/067", "tile/0/067.p/256", "tile/-1/000"),
        *("tile/0/067.p/0", "tile/0/067.p/01", "tile/entries", "tile/0/067/", "/tile/0/067", "tile/0/../067", "", "tile/0/٣٣٣"),
    ],
)
def test_no_other_path_names_a_tile(wrong: str) -> None:
    """A path that is not in its one form is refused."""
    with pytest.raises(Malformed):
        tile_at(wrong)


def test_the_widths_are_those_of_the_specification() -> None:
    """A tree of 70,000 leaves has 273 full tiles and one of 112, one full and one of 17 above, and one of 1."""
    found = list(tiles_of(70_000, 0))
    assert len(found) == 274 + 2 + 1
    assert [tile.path for tile in found if tile.width < 256] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert [tile.path for tile in tiles_of(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert list(tiles_of(0)) == []
    for level, index, size in ((0, 274, 70_000), (3, 0, 70_000), (8, 0, SIZE_MAX), (-2, 0, 1), (0, -1, 1), (0, 0, 0)):
        with pytest.raises(Malformed):
            tile_of(level, index, size)


@settings(max_examples=draws(60), deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256), st.data())
def test_a_bundle_is_read_as_it_was_written(leaves: list[bytes], data: st.DataObject) -> None:
    """Leaves come back; a bundle that is cut, longer, or of another width is refused."""
    tile = TileId(ENTRIES, 0, len(leaves))
    bundle = bundle_of(leaves)
    assert leaves_of(tile, bundle) == leaves
    for wrong in (bundle[: data.draw(st.integers(0, len(bundle) - 1))], bundle + b"\0", bundle + b"\0\0"):
        with pytest.raises(Malformed):
            leaves_of(tile, wrong)


def test_tiles_and_bundles_are_bounded() -> None:
    """A leaf of 65,536 bytes, a bundle of 257 leaves, and a tile of another length than its width are refused."""
    assert len(bundle_of([b"x" * 65_535])) == 65_537
    for leaves in ([b"x" * 65_536], [b""] * 257):
        with pytest.raises(TooLong):
            bundle_of(leaves)
    assert hashes_of(TileId(0, 0, 2), b"a" * 32 + b"b" * 32) == [b"a" * 32, b"b" * 32]
    for length in (0, 31, 63, 65, 96):
        with pytest.raises(Malformed):
            hashes_of(TileId(0, 0, 2), b"x" * length)
