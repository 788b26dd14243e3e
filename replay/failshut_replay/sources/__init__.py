"""Where evidence comes from that was never in Kafka: other people's files, played to a front door."""
