"""The guard's side of the store: names, addresses, connections, bounded answers."""
