"""Each rule is followed by what follows it and by nothing else; a loop or an empty text earns no useful pass."""

import json
import random
import string
import sys

import pytest
from rule_fixtures import FIXTURES

from probeshift.errors import UsageError
from probeshift.steering.repetition import distinct_n, repetition_rate
from probeshift.steering.rules import RULES, follows, prompts, rule, rule_names
from probeshift.steering.rules.extras import in_language
from probeshift.steering.rules.pairs import answers, table
from probeshift.steering.rules.rule import EMPTY, LOOPING, SHORT, degenerate
from probeshift.steering.rules.wording import sentences, words
from probeshift.steering.rules.words_and_length import at_most_sentences, at_most_words, avoids_words, includes_words

CASES = [(one, fixture) for one, fixture in FIXTURES.items()]
PASSING = [(name, text) for name, fixture in CASES for text in fixture.passing]
FAILING = [(name, text) for name, fixture in CASES for text in fixture.failing]
TRICKY = [(name, *case) for name, fixture in CASES for case in fixture.tricky]
PARAMETERS = [*RULES, *map(in_language, ("fr", "de", "zh")), at_most_words(20), at_most_sentences(2)]


def test_there_are_24_rules_in_six_groups_with_fixtures_for_each():
    assert len(RULES) == len(set(rule_names())) == 24
    groups = [one.group for one in RULES]
    assert {group: groups.count(group) for group in groups} == {
        "case": 3,
        "punctuation": 4,
        "layout": 4,
        "wrapping": 2,
        "words": 6,
        "extras": 5,
    }
    assert set(FIXTURES) == set(rule_names())
    for fixture in FIXTURES.values():
        assert len(fixture.passing) >= 3 and len(fixture.failing) >= 3 and len(fixture.tricky) >= 1


@pytest.mark.parametrize(("name", "text"), PASSING)
def test_texts_that_follow_a_rule_pass(name, text):
    assert follows(rule(name), text).strict and follows(rule(name), text).loose


@pytest.mark.parametrize(("name", "text"), FAILING)
def test_texts_that_do_not_follow_a_rule_fail(name, text):
    assert not follows(rule(name), text).strict


@pytest.mark.parametrize(("name", "text", "expected", "why"), TRICKY)
def test_tricky_texts_are_told_right(name, text, expected, why):
    assert follows(rule(name), text).strict is expected, why


@pytest.mark.parametrize("one", RULES, ids=rule_names())
def test_an_empty_text_follows_no_rule(one):
    for text in ("", " ", "\n\n", "\u3000"):
        verdict = follows(one, text)
        assert (verdict.strict, verdict.loose, verdict.degenerate) == (False, False, EMPTY)


@pytest.mark.parametrize("one", RULES, ids=rule_names())
def test_loose_is_never_stricter_than_strict_and_no_text_breaks_a_check(one):
    chance = random.Random(0)
    alphabet = string.printable + "äßé字，。“”😀\u200b\ufeff#*-<>{}[]\"'"
    for _ in range(300):
        text = "".join(chance.choice(alphabet) for _ in range(chance.randint(0, 80)))
        verdict = follows(one, text)
        assert verdict.loose or not verdict.strict


@pytest.mark.parametrize("one", PARAMETERS, ids=lambda one: f"{one.name}-{one.request[-12:]}")
def test_contrast_pairs_differ_in_the_rule(one):
    """Every positive is a useful pass, every negative a determined fail, and both are worth reading."""
    pairs = one.pairs()
    assert len(pairs) >= 16 and len({pair.id for pair in pairs}) == len(pairs)
    for pair in pairs:
        positive, negative = follows(one, pair.positive), follows(one, pair.negative)
        assert positive.strict and positive.useful, pair
        assert not negative.strict and not negative.undetermined and negative.degenerate is None, pair


def test_bundled_answers_are_what_the_pair_makers_count_on():
    for answer in answers():
        assert len(answer.sentences) == len(sentences(answer.text)) == 4
        assert 30 <= len(words(answer.text)) <= 50 and "," in answer.text
        assert not set(answer.text) & set("!?:;\"'#*<>[]{}0123456789")
    assert len({answer.text for answer in answers()}) == len(answers()) == 40
    assert len(table("translations")) >= 16


def test_prompts_for_choosing_for_scoring_and_for_pairs_are_different_ones():
    paired = {pair.instruction for one in RULES for pair in one.pairs()}
    selection, test = set(prompts("selection")), set(prompts("test"))
    assert len(selection) == len(test) == 10
    assert not selection & test and not (selection | test) & paired


def test_upper_and_lower_case_pass_for_every_letter_there_is():
    letters = "".join(map(chr, filter(lambda c: not 0xD800 <= c < 0xE000, range(sys.maxunicode + 1))))
    assert follows(rule("uppercase"), letters.upper()).strict
    assert follows(rule("lowercase"), letters.lower()).strict
    assert not follows(rule("uppercase"), letters).strict and not follows(rule("lowercase"), letters).strict


def test_whatever_python_writes_as_json_passes():
    chance = random.Random(1)

    def value(depth):
        kinds = [str(chance.random()), chance.random(), None, True, "\"\\\n'"]
        return {str(i): value(depth - 1) for i in range(2)} if depth else chance.choice(kinds)

    for _ in range(50):
        assert follows(rule("json"), json.dumps(value(3))).strict


def test_loose_forgives_a_line_before_or_after_and_asterisks():
    cases = {
        "lowercase": "Sure! Here it is:\nthe train leaves at noon, so be early.",
        "quoted": 'Of course.\n"The train leaves at noon."\nAnything else?',
        "first_words": "**Here is what I know:** it is long.",
        "json": 'Sure:\n{"answer": "noon"}',
        "ends_with_question": "It is long. Will you come?\n(end)",
    }
    for name, text in cases.items():
        verdict = follows(rule(name), text)
        assert (verdict.strict, verdict.loose) == (False, True), name


def test_loose_takes_json_out_of_a_code_fence_but_not_out_of_prose():
    fenced = '```json\n{"answer":\n "noon"}\n```'
    assert (follows(rule("json"), fenced).strict, follows(rule("json"), fenced).loose) == (False, True)
    assert not follows(rule("json"), f"Look.\nThis is it:\n{fenced}").loose


def test_cutting_lines_off_a_long_text_does_not_make_it_short():
    """The twin: a rule that is no limit forgives its first line."""
    paragraph = "It is said. " * 30
    for name in ("few_words", "few_sentences"):
        assert not follows(rule(name), f"{paragraph}\nTea. It is fine.\n{paragraph}").loose
    assert follows(rule("no_comma"), "Well, yes.\nTea is fine.").loose


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", EMPTY),
        ("... !!! 😀", EMPTY),
        ("four words are few", SHORT),
        ("stop! " * 40, LOOPING),
        ("the sea is wide " * 20, LOOPING),
        ("The train leaves at noon, so bring a ticket and be early.", None),
    ],
)
def test_a_text_not_worth_a_pass_is_told_why(text, why):
    assert degenerate(text) == why


def test_a_loop_that_follows_a_rule_is_no_useful_pass():
    verdict = follows(rule("exclamations"), "stop! " * 40)
    assert (verdict.strict, verdict.useful, verdict.useful_loose) == (True, False, False)
    fine = follows(rule("exclamations"), "What a day at the coast! We swam! We ate cake and slept in the sun!")
    assert fine.useful


def test_a_rule_about_few_words_does_not_ask_for_many():
    assert follows(at_most_words(5), "It leaves at noon today.").useful
    assert not follows(rule("few_words"), "It leaves at noon today.").useful


def test_too_short_to_tell_is_a_fail_and_counted():
    for name in ("lowercase", "uppercase", "language"):
        verdict = follows(rule(name), "a b")
        assert (verdict.strict, verdict.undetermined) == (False, True)
    assert not follows(rule("no_comma"), "a b").undetermined


def test_other_words_and_limits_make_other_rules():
    assert follows(includes_words("C++", "a.b"), "I like C++ and a.b, you know.").strict
    assert not follows(includes_words("a.b"), "I like axb.").strict
    assert (
        not follows(avoids_words("the"), "The sea.").strict and follows(avoids_words("the"), "There, breathe.").strict
    )
    assert not follows(at_most_words(3), "one two three four").strict
    assert "Chinese" in in_language("zh").request


def test_each_language_is_told_from_the_others():
    for row in table("translations"):
        for spoken in ("en", "es", "fr", "de", "zh"):
            for asked in ("es", "fr", "de", "zh"):
                assert follows(in_language(asked), row[spoken]).strict is (asked == spoken), row[spoken]


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match="`uppercase`"):
        rule("upercase")
    with pytest.raises(UsageError, match="language `xx`"):
        in_language("xx")


def naive_distinct(items, n):
    """A second implementation: n-grams as joined strings, counted one by one."""
    seen, total = [], 0
    for start in range(len(items)):
        gram = items[start : start + n]
        if len(gram) == n:
            total += 1
            if gram not in seen:
                seen.append(gram)
    return len(seen) / total if total else None


def test_distinct_n_and_repetition_are_counted_right():
    chance = random.Random(2)
    for _ in range(200):
        items = [chance.randint(0, 4) for _ in range(chance.randint(0, 30))]
        n = chance.randint(1, 5)
        distinct = naive_distinct(items, n)
        assert distinct_n(items, n) == distinct
        assert repetition_rate(items, n) == (None if distinct is None else 1 - distinct)
    assert repetition_rate([1, 2, 3, 4, 5], 4) == 0.0
    assert repetition_rate([7] * 13, 4) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="at least 1"):
        distinct_n([1], 0)
