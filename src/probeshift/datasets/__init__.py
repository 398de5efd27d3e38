"""Datasets of true and false statements: what they are, where they are read, how they are split."""

from probeshift.datasets.audit import DatasetAudit, audit
from probeshift.datasets.catalog import DATASETS, FACTS_DATASETS, MISSION_DATASETS, find_spec, load_dataset
from probeshift.datasets.dataset import TRAIN_LIMIT, Dataset, DatasetSpec
from probeshift.datasets.files import load_file
from probeshift.datasets.statement import SPLITS, Statement

__all__ = [
    "DATASETS",
    "FACTS_DATASETS",
    "MISSION_DATASETS",
    "SPLITS",
    "TRAIN_LIMIT",
    "Dataset",
    "DatasetAudit",
    "DatasetSpec",
    "Statement",
    "audit",
    "find_spec",
    "load_dataset",
    "load_file",
]
