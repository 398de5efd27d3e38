"""Which token sequences run together: shared prefixes once, equal lengths side by side, batches by token budget.

Everything here is a pure function of token ids, so a resumed run, or one cut over more workers, meets the same batches.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

# Cached keys give bitwise the plain pass only from a prefix of whole attention tiles and a suffix of a few tokens.
PREFIX_STEP = 16
MIN_SUFFIX = 4
# Longest run of sequences that may share one prefix; bounds the search, and the keys one prefix is copied to.
MAX_SHARING = 32
# Padding and shortened prefixes that one batch may spend before it is closed: more where prefixes are shared, whose second pass is
# so short that a device works the better the larger the batch.
MAX_WASTE, MAX_SHARED_WASTE = 1.05, 1.12
# Tokens whose keys and values a batch may hold, in budgets: rows that share a prefix each get a copy of it.
MAX_HELD = 3
# Share of all tokens that sharing prefixes must save to be worth a second pass per batch.
MIN_SAVING = 0.05

TokenIds = tuple[int, ...] | array


@dataclass(frozen=True, slots=True)
class TokenLists(Sequence[array]):
    """Token ids (or token indices) of many texts, end to end: four bytes a token and eight a text stay in memory.

    List `i` is `flat[bounds[i] : bounds[i + 1]]`.
    """

    flat: array
    bounds: array

    @classmethod
    def of(cls, lists: Iterable[Iterable[int]]) -> TokenLists:
        made = cls(array("i"), array("q", [0]))
        for one in lists:
            made.append(one)
        return made

    def append(self, one: Iterable[int]) -> None:
        self.flat.extend(one)
        self.bounds.append(len(self.flat))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> array:  # type: ignore[override]  # single lists only
        i = range(len(self))[index]
        return self.flat[self.bounds[i] : self.bounds[i + 1]]

    @property
    def lengths(self) -> list[int]:
        return [end - start for start, end in pairwise(self.bounds)]


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences computed together: `groups` of sequence indices, each group sharing its first `prefix` tokens (0: nothing)."""

    prefix: int
    groups: tuple[tuple[int, ...], ...]

    @property
    def sequences(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(self.groups))

    def tokens(self, lengths: Sequence[int]) -> int:
        """Tokens the model computes for this batch, padding included."""
        longest = max(lengths[s] for s in self.sequences)
        return (len(self.groups) * self.prefix if self.prefix else 0) + len(self.sequences) * (longest - self.prefix)


def share_prefixes(sequences: Sequence[TokenIds]) -> list[tuple[int, tuple[int, ...]]]:
    """The grouping of sequences by common prefix that computes the fewest tokens, as (prefix length, members).

    Sorted sequences that share a prefix are neighbours, so the best grouping is a best cut of the sorted list into runs: a
    run of k with common prefix p saves (k - 1) p tokens. Members that share nothing come back alone with prefix 0.
    """
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    common = [0] + [_common_length(sequences[a], sequences[b]) for a, b in pairwise(order)]
    best, start, prefix = [0] * (len(order) + 1), [0] * (len(order) + 1), [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        best[end], start[end], prefix[end] = best[end - 1], end - 1, 0
        shared = shortest = len(sequences[order[end - 1]])
        for first in range(end - 2, max(-1, end - 1 - MAX_SHARING), -1):
            shared, shortest = min(shared, common[first + 1]), min(shortest, len(sequences[order[first]]))
            usable = min(shared, shortest - MIN_SUFFIX) // PREFIX_STEP * PREFIX_STEP
            if usable <= 0:
                break
            saved = best[first] + (end - 1 - first) * usable
            if saved > best[end]:
                best[end], start[end], prefix[end] = saved, first, usable
    return list(_runs(order, start, prefix))


def _runs(order: list[int], start: list[int], prefix: list[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    end = len(order)
    while end:
        yield prefix[end], tuple(order[start[end] : end])
        end = start[end]


def _common_length(a: TokenIds, b: TokenIds) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def cut_batches(
    sequences: Sequence[TokenIds], *, budget: int, shared_budget: int | None = None, max_rows: int | None = None
) -> tuple[Batch, ...]:
    """Batches in the order they run, most tokens first, so that running out of memory shows at once.

    `budget` is the number of tokens one forward may hold; a single longer sequence still runs, alone. With `shared_budget`
    common prefixes are computed once, in batches of that size: their second pass is short, so they must be larger to keep a
    device busy. Where that saves less than `MIN_SAVING` of the tokens it is not worth two passes, and nothing is shared.
    """
    lengths = [len(s) for s in sequences]
    alone = _ordered(_pack(((0, (i,)) for i in _longest_first(lengths)), lengths, budget, max_rows), lengths)
    if shared_budget is None:
        return alone
    found = share_prefixes(sequences)
    shared = sorted((g for g in found if g[0]), key=lambda g: (-g[0], -max(lengths[i] for i in g[1]), g[1]))
    single = sorted((g for g in found if not g[0]), key=lambda g: (-lengths[g[1][0]], g[1]))
    together = [*_pack(shared, lengths, shared_budget, max_rows), *_pack(single, lengths, budget, max_rows)]
    before, after = (sum(b.tokens(lengths) for b in batches) for batches in (alone, together))
    return _ordered(together, lengths) if after <= (1 - MIN_SAVING) * before else alone


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def _ordered(batches: Iterable[Batch], lengths: Sequence[int]) -> tuple[Batch, ...]:
    return tuple(sorted(batches, key=lambda b: (-b.tokens(lengths), b.groups)))


@dataclass(frozen=True, slots=True)
class _Size:
    """What decides whether a batch may grow, kept up to date while it does."""

    prefix: int
    groups: int
    rows: int
    longest: int
    ideal: int  # tokens its groups would cost alone

    @property
    def tokens(self) -> int:
        return self.groups * self.prefix + self.rows * (self.longest - self.prefix)

    def __add__(self, other: _Size) -> _Size:
        prefix, longest = min(self.prefix, other.prefix), max(self.longest, other.longest)
        return _Size(prefix, self.groups + other.groups, self.rows + other.rows, longest, self.ideal + other.ideal)

    def fits(self, budget: int, max_rows: int | None) -> bool:
        held = self.rows * self.longest
        waste = MAX_SHARED_WASTE if self.prefix else MAX_WASTE
        wasteful = self.tokens > waste * self.ideal and self.tokens > budget // 8
        return (
            self.tokens <= budget
            and held <= MAX_HELD * budget
            and self.rows <= (max_rows or self.rows)
            and not wasteful
        )


def _pack(
    found: Iterable[tuple[int, tuple[int, ...]]], lengths: Sequence[int], budget: int, max_rows: int | None
) -> Iterator[Batch]:
    """Fill batches greedily in the given order; the groups of one batch use the shortest of their prefixes."""
    members: list[tuple[int, ...]] = []
    size: _Size | None = None
    for prefix, group in found:
        alone = _Size(prefix, 1, len(group), max(lengths[i] for i in group), 0)
        alone = replace(alone, ideal=alone.tokens)
        if size is not None and not (size + alone).fits(budget, max_rows):
            yield Batch(size.prefix, tuple(members))
            members, size = [], None
        members.append(group)
        size = alone if size is None else size + alone
    if size is not None:
        yield Batch(size.prefix, tuple(members))


def cut_shards(
    batches: Sequence[Batch], lengths: Sequence[int], *, max_sequences: int, max_tokens: int
) -> tuple[tuple[int, ...], ...]:
    """Batch indices per shard; no batch crosses a shard, so each shard can be made anew alone."""
    shards: list[list[int]] = [[]]
    rows = tokens = 0
    for index, batch in enumerate(batches):
        rows, tokens = rows + len(batch.sequences), tokens + batch.tokens(lengths)
        if shards[-1] and (rows > max_sequences or tokens > max_tokens):
            shards.append([])
            rows, tokens = len(batch.sequences), batch.tokens(lengths)
        shards[-1].append(index)
    return tuple(map(tuple, shards))
