"""Proofs of RFC 6962: that a tree holds a leaf, and that it continues an older tree. Made from tiles, checked without them.

`Tiles` hands out hashes of a tile of a tree; whoever reads a disk or a server implements it. Proofs are lists of hashes from
the leaf's side to the root's. Checking follows RFC 9162, sections 2.1.3.2 and 2.1.4.2, and takes at most 63 hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from failshut_ledger.errors import Malformed, NotConsistent, NotIncluded
from failshut_ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES, joined, node_hash
from failshut_ledger.merkle.tiles import SIZE_MAX, WIDTH, TileId, tile_of

PROOF_HASHES_MAX: Final = 63


class Tiles(Protocol):
    """Whatever hands out tiles: of a disk, of a server, of a test."""

    def hashes(self, tile: TileId) -> Sequence[bytes]:
        """Return the hashes of a tile, exactly as many as it is wide. Raises LedgerError."""


def root_from(tiles: Tiles, size: int) -> bytes:
    """Return the root of a tree of this size."""
    return _range_hash(tiles, size, 0, size) if size else EMPTY_ROOT


def root_within(tiles: Tiles, old: int, size: int) -> bytes:
    """Return the root of the first `old` leaves of a tree, from its own tiles: no tree of that size need ever have been kept.

    Raises:
        Malformed: the tree has fewer leaves.
    """
    if not 0 <= old <= size <= SIZE_MAX:
        raise Malformed(f"a tree of {size} leaves has no first {old}")
    return _range_hash(tiles, size, 0, old) if old else EMPTY_ROOT


def prove_inclusion(tiles: Tiles, index: int, size: int) -> list[bytes]:
    """Return PATH(index, D[size]) of RFC 6962. Raises Malformed where the tree has no such leaf."""
    if not 0 <= index < size <= SIZE_MAX:
        raise Malformed(f"a tree of {size} leaves has no leaf {index}")
    begin, end, path = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_range_hash(tiles, size, middle, end))
            end = middle
        else:
            path.append(_range_hash(tiles, size, begin, middle))
            begin = middle
    return path[::-1]


def prove_consistency(tiles: Tiles, old: int, new: int) -> list[bytes]:
    """Return PROOF(old, D[new]) of RFC 6962; nothing where old is 0 or the same. Raises Malformed where old is larger."""
    if not 0 <= old <= new <= SIZE_MAX:
        raise Malformed(f"a tree of {new} leaves does not continue one of {old}")
    if old in (0, new):
        return []
    begin, end, path, whole = 0, new, [], True
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append(_range_hash(tiles, new, middle, end))
            end = middle
        else:
            path.append(_range_hash(tiles, new, begin, middle))
            begin, whole = middle, False
    return ([] if whole else [_range_hash(tiles, new, begin, end)]) + path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a tree of this size and root holds a leaf with this hash at this place.

    Raises:
        NotIncluded: the proof does not show it.
    """
    _check_shape(proof, NotIncluded)
    if not 0 <= index < size <= SIZE_MAX:
        raise NotIncluded(f"a tree of {size} leaves has no leaf {index}")
    at, last, found = index, size - 1, leaf
    for one in proof:
        if last == 0:
            raise NotIncluded("the proof is longer than the tree is high")
        if at & 1 or at == last:
            found = node_hash(one, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, one)
        at, last = at >> 1, last >> 1
    if last:
        raise NotIncluded("the proof is shorter than the tree is high")
    if found != root:
        raise NotIncluded(f"the proof of leaf {index} does not lead to the root")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree continues an older one: the same leaves, and more behind them.

    Raises:
        NotConsistent: the proof does not show it.
    """
    _check_shape(proof, NotConsistent)
    if not 0 <= old <= new <= SIZE_MAX:
        raise NotConsistent(f"a tree of {new} leaves does not continue one of {old}")
    if old in (0, new):
        if proof:
            raise NotConsistent("a proof where none is needed")
        if old == 0 and old_root != EMPTY_ROOT:
            raise NotConsistent("the older tree is empty and its root is not that of the empty tree")
        if old == new and old_root != new_root:
            raise NotConsistent(f"two roots for one size, {old}")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise NotConsistent("the proof is empty")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    found_old = found_new = path[0]
    for one in path[1:]:
        if last == 0:
            raise NotConsistent("the proof is longer than the tree is high")
        if at & 1 or at == last:
            found_old, found_new = node_hash(one, found_old), node_hash(one, found_new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found_new = node_hash(found_new, one)
        at, last = at >> 1, last >> 1
    if last:
        raise NotConsistent("the proof is shorter than the tree is high")
    if found_old != old_root or found_new != new_root:
        raise NotConsistent(f"the tree of {new} leaves does not continue that of {old}")


def _check_shape(proof: Sequence[bytes], error: type[NotIncluded | NotConsistent]) -> None:
    if len(proof) > PROOF_HASHES_MAX or any(len(one) != HASH_BYTES for one in proof):
        raise error(f"a proof is at most {PROOF_HASHES_MAX} hashes of {HASH_BYTES} bytes")


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(tiles: Tiles, size: int, begin: int, end: int) -> bytes:
    """Return MTH(D[begin:end]), where begin is a multiple of the largest power of two in the range."""
    found: bytes | None = None
    while end > begin:
        count = (end - begin) & -(end - begin)
        found = joined(_perfect(tiles, size, end - count, count), found)
        end -= count
    if found is None:
        raise ValueError("an empty range has no hash in a tree")
    return found


def _perfect(tiles: Tiles, size: int, begin: int, count: int) -> Sequence[bytes]:
    """Return the hashes in one tile that stand for so many leaves, a power of two, from a multiple of it on."""
    height = count.bit_length() - 1
    level, inner = divmod(height, 8)
    index, offset = divmod(begin >> (8 * level), WIDTH)
    return tiles.hashes(tile_of(level, index, size))[offset : offset + (1 << inner)]
