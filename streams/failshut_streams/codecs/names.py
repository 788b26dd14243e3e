"""Names: from a service and a metric to a series id, once per pair and not once per sample.

A series id is `service/metric`. With a slash in the service, one producer's metric could pass for another's (`a/b` +
`c` and `a` + `b/c`). So `%` and `/` in a service are written `%25` and `%2F`. Metrics are unchanged. Names are 1 to 512
printable characters: what they contain ends on terminals, in signed records and in labels.

The tables are plain dictionaries with a bound. At the bound a table is emptied and filled again. That is correct,
slower for a moment, and counted in `cleared`: a producer that makes up names is worth an alert.
"""

NAME_CHARS_MAX = 512
NAMES_MAX = 20_000


class BadName(ValueError):
    """A name that cannot stand in a series id."""


def check_name(what: str, name: str) -> str:
    """Return the name itself. Raises `BadName` if it is empty, too long or has unprintable characters."""
    if not name:
        raise BadName(f"{what} is empty")
    if len(name) > NAME_CHARS_MAX:
        raise BadName(f"{what} has {len(name)} characters, the limit is {NAME_CHARS_MAX}")
    if not name.isprintable():
        raise BadName(f"{what} has unprintable characters")
    return name


def series_id(service: str, metric: str) -> str:
    """Return the id of a metric of a service. Raises `BadName`.

    >>> series_id("refund-agent", "amount_eur")
    'refund-agent/amount_eur'
    >>> series_id("team/app", "a/b")
    'team%2Fapp/a/b'
    """
    check_name("service", service)
    check_name("metric", metric)
    return f"{service.replace('%', '%25').replace('/', '%2F')}/{metric}"


def split_series(series: str) -> tuple[str, str]:
    """Return the service and the metric of a series id: the inverse of `series_id`. Raises `BadName`.

    >>> split_series("team%2Fapp/a/b")
    ('team/app', 'a/b')
    """
    service, slash, metric = series.partition("/")
    if not slash:
        raise BadName("a series id is service/metric")
    return service.replace("%2F", "/").replace("%25", "%"), metric


def series_of_key(key: bytes | None) -> str | None:
    """Return the series that a record's key names, or None where it names none."""
    if not key or b"/" not in key:
        return None
    try:
        service, metric = split_series(key.decode())
        return series_id(service, metric)
    except ValueError:  # BadName, or not UTF-8
        return None


class SeriesNames(dict[tuple[str, str], str]):
    """(service, metric) -> series id. Indexing an unknown pair builds, checks and keeps it, or raises `BadName`."""

    def __init__(self, limit: int = NAMES_MAX) -> None:
        super().__init__()
        self.limit = limit
        self.cleared = 0

    def __missing__(self, pair: tuple[str, str]) -> str:
        series = series_id(*pair)
        if len(self) >= self.limit:
            self.clear()
            self.cleared += 1
        self[pair] = series
        return series


class Instances(dict[str, str]):
    """Names of instances that were checked. Indexing a new one checks and keeps it, or raises `BadName`."""

    def __init__(self, limit: int = NAMES_MAX) -> None:
        super().__init__()
        self.limit = limit
        self.cleared = 0

    def __missing__(self, instance: str) -> str:
        check_name("instance", instance)
        if len(self) >= self.limit:
            self.clear()
            self.cleared += 1
        self[instance] = instance
        return instance
