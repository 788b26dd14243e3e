"""What can be wrong with a ledger, each by its own name.

    LedgerError
      Malformed          bytes that are not what they should be: a note, a tile, a proof, a key
        TooLong          more of them than may be read
      Unproven           what is well formed and does not verify
        NoKnownSignature   no signature is by a key that is trusted
        BadSignature       a signature that names a trusted key, and does not fit
        WrongOrigin        a checkpoint of another log
        NotIncluded        a leaf that the tree does not hold at that place
        NotConsistent      a tree that does not continue the other one: a fork
        NoQuorum           too few witnesses have cosigned
      Damaged            a ledger on disk that is not what its checkpoint says
        NoCheckpoint       there is none, so nothing says how far the ledger goes
        FileMissing, FileDamaged
      Refused            a ledger that must not be written now
        AlreadyWritten     another process writes it
        AlreadyThere       there is one in this folder
        Gap                the topic no longer holds what comes next
        Forked             its key has signed another tree: nothing is written behind this one
      DiskFailed         the disk is full, is read-only or fails; what was signed before stands as it was

`Malformed` is a ValueError as well, for callers that read settings.
"""

from __future__ import annotations


class LedgerError(Exception):
    """Something is wrong with a ledger, or with what was taken from one."""


class Malformed(LedgerError, ValueError):
    """Bytes that are not what they should be."""


class TooLong(Malformed):
    """More bytes than may be read."""


class Unproven(LedgerError):
    """What is well formed and does not verify."""


class NoKnownSignature(Unproven):
    """No signature is by a key that is trusted."""


class BadSignature(Unproven):
    """A signature names a trusted key and does not fit."""


class WrongOrigin(Unproven):
    """A checkpoint of another log."""


class NotIncluded(Unproven):
    """A leaf that the tree does not hold at that place."""


class NotConsistent(Unproven):
    """A tree that does not continue the other one: a fork."""


class NoQuorum(Unproven):
    """Too few witnesses have cosigned."""


class Damaged(LedgerError):
    """A ledger on disk that is not what its checkpoint says."""


class NoCheckpoint(Damaged):
    """A folder without a checkpoint: nothing says how far the ledger goes."""


class FileMissing(Damaged):
    """A tile or bundle that the checkpoint needs is not there."""


class FileDamaged(Damaged):
    """A tile or bundle is torn, truncated or changed."""


class Refused(LedgerError):
    """A ledger that must not be written now."""


class AlreadyWritten(Refused):
    """Another process writes this ledger."""


class AlreadyThere(Refused):
    """The folder holds a ledger already."""


class Gap(Refused):
    """The topic no longer holds what comes next."""


class Forked(Refused):
    """The key of this ledger has signed another tree, and a witness has shown it."""


class DiskFailed(LedgerError):
    """The disk is full, is read-only or fails. What was signed before stands as it was."""
