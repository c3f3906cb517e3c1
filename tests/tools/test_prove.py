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


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ((0, 0), (0, "No promise was broken.")),
        ((1, 0), (1, "Failed: 0")),
        ((2, 0), (2, "Could not run: 0", "No promise was broken.")),
        ((2, 1, 0), (1, "Could not run: 0", "Failed: 1")),
    ],
)
def test_harness_that_fails_is_named(capfd, monkeypatch, tmp_path, codes, told):
    """The others run all the same, and one that misses something is told from one that found something."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "ends.py").write_text("import sys; sys.exit(int(sys.argv[1]))")
    harnesses = {str(n): prove.Harness("ends.py", (str(code),), (), 1) for n, code in enumerate(codes)}
    monkeypatch.setattr(prove, "ROOT", tmp_path)
    monkeypatch.setattr(prove, "HARNESSES", harnesses)
    code = prove.main([])
    said = capfd.readouterr().out

    assert f"-- {len(codes) - 1}: ok" in said
    assert told == (code, *said.splitlines()[1 - len(told) :])
