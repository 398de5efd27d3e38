"""Rates of rule following: counted right, never without their base rates, intervals and tests as scipy has them."""

import numpy as np
import pytest
from scipy.stats import binomtest

from probeshift.errors import UsageError
from probeshift.steering.rules import follows, rule, rule_rates

FINE = "what a day at the coast! we swam! we ate cake and slept in the sun!"
LOOP = "stop! " * 40
PLAIN = "We swam at the coast, then we ate cake and slept in the sun."


def rates(**texts):
    return rule_rates(rule("exclamations"), texts).set_index("condition")


def test_rates_count_strict_loose_useful_and_degenerate_texts():
    table = rates(unsteered=[PLAIN] * 4, prompted=[FINE, FINE, PLAIN, PLAIN], steered=[FINE, LOOP, LOOP, PLAIN])
    assert list(table["strict"]) == [0.0, 0.5, 0.75]
    assert list(table["useful"]) == [0.0, 0.5, 0.25]
    assert list(table["n_degenerate"]) == [0, 0, 2]
    assert table.loc["steered", "useful_vs_unsteered"] == 0.25 and table.loc["steered", "useful_vs_prompted"] == -0.25
    assert np.isnan(table.loc["unsteered", "useful_vs_unsteered"]), "a base has no change against itself"


def test_intervals_are_exact_binomial_ones():
    table = rates(unsteered=[PLAIN] * 10, prompted=[FINE] * 3 + [PLAIN] * 7)
    for condition, passed in (("unsteered", 0), ("prompted", 3)):
        exact = binomtest(passed, 10).proportion_ci(method="exact")
        assert table.loc[condition, "strict_low"] == pytest.approx(exact.low)
        assert table.loc[condition, "strict_high"] == pytest.approx(exact.high)


def test_the_change_is_tested_prompt_by_prompt():
    """8 prompts gained and 1 lost give the binomial test of 8 in 9; unpaired counts alone could not."""
    before, after = [FINE] + [PLAIN] * 19, [PLAIN] + [FINE] * 8 + [PLAIN] * 11
    table = rates(unsteered=before, prompted=before, steered=after)
    assert table.loc["steered", "p_vs_unsteered"] == pytest.approx(binomtest(8, 9).pvalue)
    assert table.loc["steered", "useful_vs_unsteered"] == pytest.approx(7 / 20)
    assert np.isnan(table.loc["prompted", "p_vs_unsteered"]), "nothing differs, nothing to test"


def test_texts_too_short_to_tell_are_counted():
    table = rule_rates(rule("lowercase"), {"unsteered": ["a b", FINE], "prompted": [FINE, FINE]}).set_index("condition")
    assert list(table["n_undetermined"]) == [1, 0]


@pytest.mark.parametrize("absent", ["unsteered", "prompted"])
def test_no_rates_without_base_rates(absent):
    texts = {name: [FINE] for name in ("unsteered", "prompted", "steered") if name != absent}
    with pytest.raises(UsageError, match=f"missing: {absent}"):
        rates(**texts)


@pytest.mark.parametrize("texts", [{"steered": [FINE]}, {"steered": [FINE, PLAIN, PLAIN]}])
def test_conditions_of_different_lengths_are_refused(texts):
    with pytest.raises(UsageError, match="one text per prompt"):
        rates(unsteered=[PLAIN, PLAIN], prompted=[PLAIN, PLAIN], **texts)


def test_no_text_at_all_is_refused():
    with pytest.raises(UsageError, match="one text per prompt"):
        rates(unsteered=[], prompted=[])


def test_the_verdicts_behind_the_rates_are_those_of_follows():
    texts = [FINE, LOOP, PLAIN, ""]
    table = rates(unsteered=texts, prompted=texts)
    verdicts = [follows(rule("exclamations"), text) for text in texts]
    for name in ("strict", "loose", "useful", "useful_loose"):
        assert table.loc["unsteered", name] == np.mean([getattr(verdict, name) for verdict in verdicts])
