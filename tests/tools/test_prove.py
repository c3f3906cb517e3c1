"""``tools/prove.py`` runs every harness, and says which one failed."""

import re

import pytest

from tools import prove


def test_each_harness_has_a_tool():
    """And their shares of a long time are a whole."""
    assert all((prove.ROOT / "tools" / harness.script).is_file() for harness in prove.HARNESSES.values())
    assert pytest.approx(1) == sum(harness.share for harness in prove.HARNESSES.values())


def test_harness_that_keeps_the_promises(capfd):
    """It gets the time that was asked for, and ends well."""
    code = prove.main(["--only", "simulated lives", "--minutes", "0.05"])
    said = capfd.readouterr().out

    assert 0 == code
    assert "-- simulated lives: tools/simulator.py --minutes 0.05" in said
    assert re.search(r'"lives": [1-9]', said)
    assert said.endswith("No promise was broken.\n")


def test_harness_that_fails_is_named(capfd, monkeypatch):
    """The others run all the same."""
    bad, good = prove.Harness("simulator.py", ("--lives", "many"), (), 1), prove.HARNESSES["simulated lives"]
    monkeypatch.setattr(prove, "HARNESSES", {"bad": bad, "good": good._replace(for_a_commit=("--lives", "20"))})
    code = prove.main([])
    said = capfd.readouterr().out

    assert 1 == code
    assert "-- good: ok" in said
    assert said.endswith("Failed: bad\n")
