"""A run whose end could not be written, the same Runner again, and then a death: every promise holds."""

import pytest

from tests.crash.breaking import ERRORS, LOG_ERRORS
from tests.crash.child import DRIVERS
from tests.crash.harness import check, die, finish


pytestmark = pytest.mark.crash

COROUTINES = {"coroutines", "pages_async"}
CASES = [(driver, way) for driver in DRIVERS for way in (LOG_ERRORS if driver in COROUTINES else ERRORS)]


@pytest.mark.parametrize("failpoint", ["run.after_effect", "close.before_commit"])
@pytest.mark.parametrize(("driver", "way"), CASES)
def test_next_run_of_the_same_runner_keeps_every_promise(plan, driver, way, failpoint):
    """Two runs fail in one way; the third one dies in an effect, or when it is over."""
    breaks = ((way, 5), (way, 4))
    hit = 45 if failpoint.startswith("run") else 1
    doomed = plan(driver=driver, workers=3, window=8, failpoint=failpoint, hit=hit, breaks=breaks)
    die(doomed)

    assert [] == check(doomed, running_max=doomed.workers)
    assert [] == finish(doomed)
