"""The study's cache is read as it is, memory-mapped; whatever is wrong with it is said in one sentence."""

import json
import pickle

import numpy as np
import pytest
from scipy import sparse

from probeshift.datasets.label_maps import ALIGNMENT_FAKING, label_truths
from probeshift.errors import MissingError, StoreError, UsageError
from probeshift.feature_tables import FeatureTable, join, read_cache

N, D = 12, 30


def write(folder, stem="sycophant", values=None, labels=None, as_npy=False):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    values = rng.random((N, D), dtype=np.float32) * (rng.random((N, D)) < 0.1) if values is None else values
    np.save(folder / f"{stem}_activations.npy", values)
    labels = ["alignment_faking", "aligned"] * (N // 2) if labels is None else labels
    if as_npy:
        np.save(folder / f"{stem}_labels.npy", labels)
    else:
        (folder / f"{stem}_labels.json").write_text(json.dumps({"labels": labels, "token_counts": [5] * len(labels)}))
    return values


def test_a_set_is_read_without_loading_it(tmp_path):
    values = write(tmp_path)
    table = read_cache(tmp_path, "sycophant")
    assert isinstance(table.values, np.memmap)
    np.testing.assert_array_equal(table.values, values)
    assert table.labels.tolist() == [True, False] * (N // 2)
    assert table.n_tokens == (5,) * N


def test_labels_may_be_numbers_in_an_array(tmp_path):
    write(tmp_path, "train", labels=np.arange(N) % 2, as_npy=True)
    assert read_cache(tmp_path, "train").labels.tolist() == [False, True] * (N // 2)


def test_labels_may_be_words_in_an_array(tmp_path):
    write(tmp_path, "train", labels=np.array(["scheming", "hard_negative"] * (N // 2)), as_npy=True)
    assert read_cache(tmp_path, "train").labels.tolist() == [True, False] * (N // 2)


def test_the_documents_map_is_complete():
    shown = {name for name, truth in ALIGNMENT_FAKING.items() if truth}
    assert shown == {"alignment_faking", "potential_faking", "faking", "scheming"}
    assert set(ALIGNMENT_FAKING) - shown == {
        "aligned", "genuine_compliance", "hard_negative", "compliant", "compliant_hard_negative",
    }  # fmt: skip


def test_an_unknown_label_is_named_with_the_nearest(tmp_path):
    write(tmp_path, labels=["alignment_faking"] * (N - 1) + ["alinged"])
    with pytest.raises(UsageError, match=r"`alinged` \(row 11\).*`aligned`"):
        read_cache(tmp_path, "sycophant")
    assert read_cache(tmp_path, "sycophant", labels={"alinged": False}).labels[-1] == np.False_


def test_a_map_given_by_the_user_wins():
    assert label_truths(["aligned"], where="here", also={"aligned": True}).tolist() == [True]


@pytest.mark.parametrize(
    ("stem", "command"), [("train", "01_load_cached_activations.py"), ("benchmark", "--dataset benchmark")]
)
def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path, stem, command):
    with pytest.raises(MissingError, match=f"{stem}_activations.npy is missing.*{command}") as caught:
        read_cache(tmp_path, stem)
    assert caught.value.exit_code == 4


def test_missing_labels_are_named(tmp_path):
    write(tmp_path)
    (tmp_path / "sycophant_labels.json").unlink()
    with pytest.raises(MissingError, match=r"sycophant_labels\.json is missing"):
        read_cache(tmp_path, "sycophant")


def test_rows_and_labels_of_unequal_length_are_refused(tmp_path):
    write(tmp_path, labels=["aligned"] * (N - 2))
    (tmp_path / "sycophant_labels.json").write_text(json.dumps(["aligned"] * (N - 2)))
    with pytest.raises(UsageError, match=f"{N} rows of activations and {N - 2} labels"):
        read_cache(tmp_path, "sycophant")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(tmp_path, bad):
    values = np.ones((N, D), dtype=np.float32)
    values[5, 3] = bad
    write(tmp_path, values=values)
    with pytest.raises(UsageError, match="not finite in row 5"):
        read_cache(tmp_path, "sycophant")


def test_an_empty_set_is_refused(tmp_path):
    write(tmp_path, values=np.zeros((0, D), dtype=np.float32), labels=[])
    with pytest.raises(UsageError, match="`sycophant` is empty"):
        read_cache(tmp_path, "sycophant")


def test_a_pickled_array_is_never_opened(tmp_path):
    class Payload:
        def __reduce__(self):
            return (exec, ("raise SystemExit('unpickled')",))

    write(tmp_path)
    np.save(tmp_path / "sycophant_activations.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match="not a plain numpy array"):
        read_cache(tmp_path, "sycophant")
    (tmp_path / "sycophant_activations.npy").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(StoreError, match="not a plain numpy array"):
        read_cache(tmp_path, "sycophant")


def test_a_broken_label_file_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "sycophant_labels.json").write_text('{"labels": [')
    with pytest.raises(StoreError, match=r"sycophant_labels\.json is not valid JSON"):
        read_cache(tmp_path, "sycophant")


def table(name, values):
    return FeatureTable(name, values, np.arange(len(values)) % 2 == 0, name)


def test_sets_of_unequal_width_are_refused():
    with pytest.raises(UsageError, match="`b` has 8 features and `a` has 9"):
        join([table("a", np.ones((2, 9))), table("b", np.ones((2, 8)))])


def test_rows_with_few_values_are_held_sparse_and_others_plain():
    thin = np.eye(40, dtype=np.float32)
    assert sparse.issparse(join([table("thin", thin)]))
    assert isinstance(join([table("full", np.ones((4, 6), dtype=np.float32))]), np.ndarray)
    both = join([table("thin", thin), table("thin too", 2 * thin)])
    np.testing.assert_array_equal(both.toarray(), np.concatenate([thin, 2 * thin]))
