"""Twenty-four rules that a program can check, what a pass is worth, and contrast pairs for steering towards each.

Needs no model: generated texts come in, verdicts and rates go out.
"""

from probeshift.steering.rules.catalog import RULES, rule, rule_names
from probeshift.steering.rules.pairs import ContrastPair, prompts
from probeshift.steering.rules.rates import rule_rates
from probeshift.steering.rules.rule import Rule, Verdict, follows

__all__ = ["RULES", "ContrastPair", "Rule", "Verdict", "follows", "prompts", "rule", "rule_names", "rule_rates"]
