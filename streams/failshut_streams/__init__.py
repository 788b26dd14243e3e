"""The monitor's streaming half: transport, codecs, router, governor agent, clock, lag, snapshots."""
