"""Data sets by name: brought, verified, and scaled."""

from atif_lib.data.load import DATASETS, fetch, load, normalizer
from atif_lib.data.storage import DataCorrupt, DataUnavailable, Examples

__all__ = ["DATASETS", "DataCorrupt", "DataUnavailable", "Examples", "fetch", "load", "normalizer"]
