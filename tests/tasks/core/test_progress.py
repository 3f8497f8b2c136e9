import threading

from tasks.core.progress import Counting, Fanout, Silent, ambient, reporting_to

Report = tuple[str, int, int | None]


class Recording:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:
        self.reports.append((name, n, total))

    def __call__(self, name: str, done: int, total: int | None) -> None:
        self.reports.append((name, done, total))


def test_counting_adds_up_and_is_throttled() -> None:
    published, now = Recording(), [0.0]
    counting = Counting(published, interval=1.0, clock=lambda: now[0])
    for _ in range(30):
        counting.advance("ingest", 2)
        now[0] += 0.125
    assert [report[1] for report in published.reports] == [2, 18, 34, 50]


def test_counting_publishes_the_end() -> None:
    published = Recording()
    counting = Counting(published, clock=lambda: 0.0)
    for _ in range(5):
        counting.advance("ingest", 1, 5)
    assert published.reports == [("ingest", 1, 5), ("ingest", 5, 5)]


def test_counting_keeps_names_apart_and_remembers_totals() -> None:
    published = Recording()
    counting = Counting(published, interval=0, clock=lambda: 0.0)
    counting.advance("a", 1, 10)
    counting.advance("b", 5)
    counting.advance("a", 1)
    assert published.reports == [("a", 1, 10), ("b", 5, None), ("a", 2, 10)]


def test_counting_takes_reports_of_many_threads() -> None:
    published = Recording()
    counting = Counting(published, clock=lambda: 0.0)

    def work() -> None:
        for _ in range(1000):
            counting.advance("a", 1, 4000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert published.reports[-1] == ("a", 4000, 4000)


def test_fanout_hands_on() -> None:
    one, two = Recording(), Recording()
    Fanout(one, Silent(), two).advance("a", 1, 2)
    assert one.reports == two.reports == [("a", 1, 2)]


def test_ambient_is_silent_unless_somebody_listens() -> None:
    outer, inner = Recording(), Recording()
    assert isinstance(ambient(), Silent)
    with reporting_to(outer):
        with reporting_to(inner):
            assert ambient() is inner
        assert ambient() is outer
    assert isinstance(ambient(), Silent)
