"""What this package's modules were called in 0.1 and where they are now; gone with 0.3."""

from typing import Final

MOVED: Final = {
    "address": "failshut.network.address",
    "bounded": "failshut.store.answers",
    "connection": "failshut.store.connection",
    "keys": "failshut.store.names",
    "keysource": "failshut.background.key_source",
    "later": "failshut.admission.unfinished",
    "naming": "failshut.admission.subjects",
    "outcomes": "failshut.background.outcomes",
    "reporter": "failshut.background.reporter",
    "store_address": "failshut.store.address",
    "store_state": "failshut.store.state",
    "tls": "failshut.network.tls",
    "watcher": "failshut.background.watcher",
}
