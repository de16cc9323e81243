"""Files come into place whole or not at all; tests/test_images.py tries the same with real sources."""

import errno
import functools
import hashlib
import os
import re

import numpy as np
import pytest
import torch
from filelock import FileLock

from atif_lib.data import load, storage
from atif_lib.paths import data_folder


def unpack(packed, validation):
    cut = 4 if validation else 6
    inputs, labels = torch.from_numpy(packed).reshape(-1, 1, 1, 1), torch.arange(len(packed))
    return inputs[:cut], labels[:cut], inputs[cut:], labels[cut:]


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """A data set whose checksum is known only once it is made, by a source that can be told what to make."""
    monkeypatch.setenv("ATIF_DATA", str(tmp_path / "data"))
    made = [np.arange(5, dtype=np.uint8), np.arange(5, 9, dtype=np.uint8)]
    first, second = functools.partial(fails, made), lambda work: iter(made)
    return storage.Dataset(("a",), (("first", first), ("second", second)), unpack, "do this"), made


def fails(made, work):
    yield made[0]
    raise ValueError("sound is cut short")


def test_computed_file_is_held_to_the_checksum_noted_when_it_was_made(computed):
    entry, made = computed
    path = storage.fetch("made", entry, progress=False)
    packed = bytes(range(9))
    examples = storage.read("made", entry)
    assert path.read_bytes() == packed
    assert examples.sha256 == hashlib.sha256(packed).hexdigest() == storage.file_sha256(path)
    assert (examples.name, examples.source, examples.classes) == ("made", "second", ("a",))
    assert examples.train_inputs.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert storage.read("made", entry, validation=True).test_labels.tolist() == [4, 5, 6, 7, 8]

    made[1] = made[1] + 1  # the source would now make another file: what is there and whole stays
    storage.fetch("made", entry, progress=False)
    assert path.read_bytes() == packed


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b"\1" + raw[1:]])
def test_damaged_computed_file_is_refused_and_made_again(computed, damage):
    entry, _ = computed
    path = storage.fetch("made", entry, progress=False)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        storage.DataCorrupt, match=r"made.bin has sha256 .*delete it, then run: python -m atif_lib data made"
    ):
        storage.read("made", entry)
    storage.fetch("made", entry, progress=False)
    assert path.read_bytes() == bytes(range(9))


def test_computed_file_without_its_note_is_not_trusted(computed):
    entry, _ = computed
    path = storage.fetch("made", entry, progress=False)
    path.with_suffix(".source").unlink()
    with pytest.raises(storage.DataCorrupt, match="not a noted one"):
        storage.read("made", entry)
    storage.fetch("made", entry, progress=False)
    assert storage.read("made", entry).source == "second"


def test_where_no_source_works_each_reason_is_told(computed):
    entry, _ = computed
    entry = entry._replace(sources=entry.sources[:1])
    with pytest.raises(
        storage.DataUnavailable, match=r"(?s)first: ValueError: sound is cut short.*What to do: do this"
    ):
        storage.fetch("made", entry, progress=False)
    with pytest.raises(storage.DataUnavailable, match="to fetch it, run: python -m atif_lib data made"):
        storage.read("made", entry)
    assert not (data_folder() / "made.bin").exists()


def test_installed_data_is_fetched_when_it_is_read(computed):
    entry, _ = computed
    assert storage.read("made", entry._replace(installed=True)).source == "second"


def test_a_lock_that_another_process_holds_is_waited_for_with_a_word(computed, capsys, monkeypatch):
    entry, _ = computed
    path = data_folder() / "made.bin"
    path.parent.mkdir(parents=True)
    held = FileLock(path.with_suffix(".lock"), thread_local=False)
    say = storage.tqdm.write
    with held, monkeypatch.context() as patch:
        patch.setattr(storage.tqdm, "write", lambda text, **to: (say(text, **to), held.release()))
        assert storage.fetch("made", entry, progress=False) == path
    assert path.is_file()
    told = capsys.readouterr().err
    assert told == "made: another process is bringing it; waiting for that (Ctrl-C ends this)\n"
    storage.fetch("made", entry, progress=False)
    path.unlink()
    storage.fetch("made", entry, progress=False)
    assert capsys.readouterr().err == ""
    path.unlink()
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.1)
    with held, pytest.raises(storage.DataUnavailable, match=r"made: another process has been bringing it for .* hours"):
        storage.fetch("made", entry, progress=False)


def test_a_damaged_note_says_less(computed):
    entry, _ = computed
    path = storage.fetch("made", entry, progress=False)
    note = path.with_suffix(".source")
    before = note.read_text("utf-8")
    note.write_bytes(b"\xff\xfe")
    assert storage.fetch("made", entry, progress=False) == path
    assert note.read_text("utf-8") == before


def test_a_part_of_a_data_set_says_so(computed):
    entry, _ = computed
    storage.fetch("made", entry, progress=False)
    whole, part = (storage.read("made", entry._replace(size=size)) for size in (9, 12))
    assert (whole.source, whole.whole) == ("second", True)
    assert (part.source, part.whole) == ("second, 75 % of the data set", False)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS"])
def test_a_full_disk_is_not_a_source_that_fails(computed, name):
    """The hint of digits was to install scikit-learn."""
    entry, _ = computed
    number = getattr(errno, name, errno.ENOSPC)

    def full(work):
        raise OSError(number, os.strerror(number))
        yield

    entry = entry._replace(sources=(("first", full), *entry.sources[1:]), hint="pip install scikit-learn")
    with pytest.raises(
        storage.DataUnavailable, match=rf"cannot use folder .*{re.escape(os.strerror(number))}; set"
    ) as caught:
        storage.fetch("made", entry, progress=False)
    assert "scikit-learn" not in str(caught.value)
    assert not [path for path in data_folder().iterdir() if path.suffix != ".lock"]


def test_few_test_examples_leave_those_for_training(digits):
    few = digits.tested_on(10)
    assert few.train_inputs is digits.train_inputs
    assert torch.equal(few.test_inputs, digits.thinned(10).test_inputs)
    assert torch.equal(few.test_labels, digits.thinned(10).test_labels)


@pytest.mark.parametrize("count", [-1, 0])
def test_no_example_is_none(count):
    examples = load("digits")
    with pytest.raises(ValueError, match=f"count={count}; allowed: an integer, 1 or more"):
        examples.thinned(count)
