"""Data sets by name: brought, verified, and scaled."""

from atif_lib.data.load import DATASETS, fetch, load, normalizer
from atif_lib.data.storage import DataCorrupt, DataUnavailable, Examples, data_root

__all__ = ["DATASETS", "DataCorrupt", "DataUnavailable", "Examples", "data_root", "fetch", "load", "normalizer"]
