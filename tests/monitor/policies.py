"""Policies that tests use, with short times."""

from __future__ import annotations


def drift(gate: str, series: str = "agent/amount", reset: str = "reset: {after: 2s, probes: 0}", ttl: str = "2s") -> str:
    """A gate that trips over a drift of one series."""
    return f"""
gate: {gate}
permit: {{ttl: {ttl}}}
subjects: ["*"]
conditions:
  - drift: {{series: {series}, detector: adwin, stale: 10m}}
{reset}
"""


def heartbeat(gate: str, source: str = "agent", grace: str = "2s", ttl: str = "2s") -> str:
    """A gate that is open while a source shows signs of life."""
    return f"""
gate: {gate}
permit: {{ttl: {ttl}}}
subjects: ["*"]
conditions:
  - heartbeat: {{source: {source}, every: 500ms, grace: {grace}}}
"""
