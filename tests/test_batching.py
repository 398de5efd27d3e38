"""Batches are a best use of shared prefixes, whole, within budget, and a pure function of token ids."""

import itertools
import random

import pytest

from probeshift.extraction.batching import MIN_SUFFIX, PREFIX_STEP, Batch, cut_batches, cut_shards, share_prefixes


def questions(n, *, options=3, longest=120, seed=0):
    """Token sequences in groups that share a prefix, as options of one question do."""
    draw = random.Random(seed)
    found = []
    for _ in range(n):
        stem = [draw.randrange(50) for _ in range(draw.randrange(5, longest))]
        found += [(*stem, *(draw.randrange(50, 100) for _ in range(draw.randrange(4, 12)))) for _ in range(options)]
    return list(dict.fromkeys(found))


def saved(sequences, groups):
    return sum(prefix * (len(members) - 1) for prefix, members in groups)


def usable_prefix(members):
    common = next(
        (i for i, tokens in enumerate(zip(*members, strict=False)) if len(set(tokens)) > 1), min(map(len, members))
    )
    return max(0, min(common, min(map(len, members)) - MIN_SUFFIX) // PREFIX_STEP * PREFIX_STEP)


def partitions(items):
    if not items:
        yield []
        return
    first, *rest = items
    for k in range(len(rest) + 1):
        for chosen in itertools.combinations(rest, k):
            left = [i for i in rest if i not in chosen]
            for others in partitions(left):
                yield [(first, *chosen), *others]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_grouping_saves_more_tokens(seed):
    sequences = questions(2, options=3, longest=70, seed=seed)
    best = max(
        sum(usable_prefix([sequences[i] for i in g]) * (len(g) - 1) for g in p)
        for p in partitions(list(range(len(sequences))))
    )
    assert saved(sequences, share_prefixes(sequences)) == best


def test_every_group_really_shares_its_prefix_and_leaves_a_suffix():
    sequences = questions(60)
    for prefix, members in share_prefixes(sequences):
        assert prefix % PREFIX_STEP == 0
        assert len({sequences[m][:prefix] for m in members}) == 1
        assert prefix == 0 or all(len(sequences[m]) - prefix >= MIN_SUFFIX for m in members)


@pytest.mark.parametrize("reuse", [True, False])
def test_batches_hold_every_sequence_once_and_keep_to_the_budget(reuse):
    sequences = questions(80)
    lengths = [len(s) for s in sequences]
    batches = cut_batches(sequences, budget=600, shared_budget=600 if reuse else None, max_rows=20)
    assert sorted(s for b in batches for s in b.sequences) == list(range(len(sequences)))
    assert all(b.tokens(lengths) <= 600 and len(b.sequences) <= 20 for b in batches)
    assert all(len({sequences[s][: b.prefix] for s in members}) == 1 for b in batches for members in b.groups)


def test_a_sequence_longer_than_the_budget_runs_alone():
    batches = cut_batches([tuple(range(900)), (1, 2, 3)], budget=100)
    assert Batch(0, ((0,),)) in batches


def test_sharing_prefixes_computes_fewer_tokens_than_not_sharing():
    sequences = questions(100, options=4)
    lengths = [len(s) for s in sequences]
    shared, plain = (
        sum(b.tokens(lengths) for b in cut_batches(sequences, budget=2048, shared_budget=s)) for s in (2048, None)
    )
    assert shared < plain / 2
    # the twin: sequences that share nothing gain nothing
    alone = [tuple([i] * 40) for i in range(50)]
    assert cut_batches(alone, budget=512, shared_budget=512) == cut_batches(alone, budget=512)


def test_a_saving_too_small_for_two_passes_is_left():
    draw = random.Random(2)
    mixed = [tuple(draw.randrange(1000) for _ in range(100)) for _ in range(60)]
    mixed += [(*mixed[0][:48], *(draw.randrange(1000) for _ in range(52)))]  # one pair shares 48 of 6,100 tokens
    assert not any(b.prefix for b in cut_batches(mixed, budget=512, shared_budget=1024))


def test_batches_do_not_depend_on_the_order_of_equal_work():
    sequences = questions(40)
    once, again = (cut_batches(sequences, budget=512, shared_budget=1024) for _ in range(2))
    assert once == again


def test_the_most_expensive_batch_runs_first():
    sequences = questions(60)
    lengths = [len(s) for s in sequences]
    costs = [b.tokens(lengths) for b in cut_batches(sequences, budget=512, shared_budget=1024)]
    assert costs == sorted(costs, reverse=True)


def test_shards_hold_whole_batches_in_order():
    sequences = questions(60)
    lengths = [len(s) for s in sequences]
    batches = cut_batches(sequences, budget=512, shared_budget=1024)
    shards = cut_shards(batches, lengths, max_sequences=25, max_tokens=2000)
    assert list(itertools.chain.from_iterable(shards)) == list(range(len(batches)))
    assert len(shards) > 2
    for shard in shards:
        small = (
            sum(len(batches[b].sequences) for b in shard) <= 25
            and sum(batches[b].tokens(lengths) for b in shard) <= 2000
        )
        assert small or len(shard) == 1


def test_padding_stays_small_on_mixed_lengths():
    draw = random.Random(1)
    sequences = [
        tuple(draw.randrange(1000) for _ in range(int(draw.lognormvariate(4.1, 0.6)) + 5)) for _ in range(2000)
    ]
    lengths = [len(s) for s in sequences]
    computed = sum(b.tokens(lengths) for b in cut_batches(sequences, budget=sum(lengths) // 50))
    assert computed <= 1.03 * sum(lengths)  # the reference's figure for this rule is 1.02
