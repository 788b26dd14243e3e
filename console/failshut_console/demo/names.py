"""Names that the demonstration's processes share."""

from __future__ import annotations

from typing import Final

TELEMETRY: Final = "telemetry"
CONTEXT: Final = {"environment": "demo"}

REFUND: Final = "payments.refund"
ROUTE: Final = "payments.route"
SCALE: Final = "fleet.scale"

ROUTER_GROUP: Final = "demo-router"
ROUTER_TOPIC: Final = "demo-payments"
