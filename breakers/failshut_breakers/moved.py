"""What this package's modules were called in 0.1 and where they are now; gone with 0.3."""

from typing import Final

MOVED: Final = {
    "boundaries": "failshut_breakers.evidence.boundaries",
    "breaker": "failshut_breakers.gate.breaker",
    "condition_policies": "failshut_breakers.policy.conditions",
    "coverage": "failshut_breakers.evidence.coverage",
    "decision": "failshut_breakers.decisions.decision",
    "detection": "failshut_breakers.policy.detection",
    "expression": "failshut_breakers.policy.expression",
    "gate_orders": "failshut_breakers.gate.orders",
    "permits": "failshut_breakers.decisions.permits",
    "policy_files": "failshut_breakers.policy.memo",
    "policy_yaml": "failshut_breakers.policy.yaml_reader",
    "probes": "failshut_breakers.decisions.probe_tokens",
    "readings": "failshut_breakers.evidence.readings",
    "routes": "failshut_breakers.policy.routes",
    "rule": "failshut_breakers.policy.rule",
    "store_answers": "failshut_breakers.store.answers",
    "store_connection": "failshut_breakers.store.connection",
    "taken": "failshut_breakers.taken_ids",
    "tally": "failshut_breakers.gate.tally",
    "units": "failshut_breakers.policy.units",
}
