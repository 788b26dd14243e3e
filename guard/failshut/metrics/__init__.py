"""What a service's own guards saw, in the metrics that the service already has: call `export()` once at its start."""

from failshut.metrics.exporting import export, export_to_opentelemetry, export_to_prometheus

__all__ = ["export", "export_to_opentelemetry", "export_to_prometheus"]
