"""Spoken keywords: the features are the paper's, the split is the official one. Nothing here needs a network."""

import hashlib
import io
import os
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torchaudio.datasets import speechcommands

from atif_lib import data
from atif_lib.__main__ import main
from atif_lib.data import speech
from atif_lib.data import synthetic_speech as keywords

SHARED = Path(os.environ.get("ATIF_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "data"
WORDS = speech.GSC13[:3]
LISTED = {"validation_list.txt": "c", "testing_list.txt": "d"}  # the speakers of each list


def shared(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"no {name} in {SHARED}: set ATIF_SHARED")
    return SHARED / name


def wav(samples, rate=16_000):
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def sound(seed, length=16_000):
    return np.random.default_rng(seed).integers(-20_000, 20_000, length, np.int16)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root without anything, and an official server that refuses every connection."""
    monkeypatch.setenv("ATIF_DATA", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(speech.Release, "url", "http://127.0.0.1:9/x.tar.gz")
    return tmp_path


@pytest.fixture
def files():
    """Two clips a word for training, one each for validation and test; other things that the archive has."""
    names = [f"{word}/{speaker}_nohash_0.wav" for word in WORDS for speaker in "badc"]
    files = {name: wav(sound(i, 16_000 - 100 * i)) for i, name in enumerate(names)}
    files |= {list_: "\n".join(f"{w}/{who}_nohash_0.wav" for w in WORDS).encode() for list_, who in LISTED.items()}
    return files | {"_background_noise_/hum.wav": wav(sound(0, 50_000)), "dog/a_nohash_0.wav": wav(sound(1))}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def fetch_error(name):
    with pytest.raises(data.DataUnavailable) as caught:
        speech.fetch(name, progress=False)
    return str(caught.value)


# ---- features


def test_frames_of_one_second():
    features = speech.mfcc(torch.randn(3, 16_000))
    assert features.shape == (3, speech.FRAMES, speech.COEFFICIENTS) == (3, 49, 10)
    for samples in (384, 703, 704, 15_999, 17_000):
        assert speech.mfcc(torch.randn(1, samples)).shape[1] == 1 + (samples + 640 - 1024) // 320


def test_mfcc_by_hand():
    """The definition in float64 with numpy: a padded frame, its spectrum, mel triangles, logarithm, cosines."""
    wave = torch.from_numpy(sound(0) / 32768)
    frame = np.pad(wave.numpy(), 320)[7 * 320 : 7 * 320 + 1024]
    window = np.pad(np.hanning(641)[:-1], 192)
    power = np.abs(np.fft.rfft(frame * window)) ** 2
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([20, 4000]) / 700)), 42) / 2595) - 1)
    hertz = np.arange(513) * 16_000 / 1024
    rise, fall = ((hertz - edges[:-1, None]) / np.diff(edges)[:, None] for _ in range(2))
    bands = np.clip(np.minimum(rise[:-1], 1 - fall[1:]), 0, None)
    logs = np.log(bands @ power + 1e-6)
    cosines = np.cos(np.pi / 40 * (np.arange(40) + 0.5) * np.arange(10)[:, None]) * np.sqrt(2 / 40)
    cosines[0] /= np.sqrt(2)
    np.testing.assert_allclose(speech.mfcc(wave[None])[0, 7].numpy(), cosines @ logs, atol=1e-4)


@pytest.mark.parametrize("bad", [torch.zeros(16_000), torch.zeros(1, 16_000, dtype=torch.int16), torch.zeros(1, 383)])
def test_mfcc_names_what_is_wrong(bad):
    with pytest.raises(ValueError, match=r"waveforms are .*allowed: float32 or float64 \[N, samples\], .* 384 or more"):
        speech.mfcc(bad)


# ---- folders and archives


def check_loads(files, source):
    whole, held_out = data.load("gsc13"), data.load("gsc13", validation=True)
    assert (whole.name, whole.source, whole.classes) == ("gsc13", f"{source}, 0.042 % of the data set", speech.GSC13)
    assert not whole.whole
    for inputs, labels, speakers in (
        (whole.train_inputs, whole.train_labels, "ab"),
        (whole.test_inputs, whole.test_labels, "d"),
        (held_out.test_inputs, held_out.test_labels, "c"),
        (held_out.train_inputs, held_out.train_labels, "ab"),
    ):
        assert inputs.dtype == torch.float16
        assert labels.tolist() == [label for label in range(len(WORDS)) for _ in speakers]
        for one, (word, who) in zip(inputs, ((w, s) for w in WORDS for s in speakers), strict=True):
            _, samples = wavfile.read(io.BytesIO(files[f"{word}/{who}_nohash_0.wav"]))
            wave = torch.from_numpy(np.pad(samples, (0, 16_000 - len(samples)))) / 32768
            torch.testing.assert_close(one.float(), speech.mfcc(wave[None]), atol=1e-3, rtol=1e-3)


def test_folder(root, files):
    write(root / "speech_commands_v0.01", files)
    assert speech.fetch("gsc13", progress=False) == root / "gsc13.bin"
    check_loads(files, "folder")
    assert hashlib.sha256((root / "gsc13.bin").read_bytes()).hexdigest() == data.load("gsc13").sha256


def test_archive_put_there_by_hand_is_the_folder(root, files, monkeypatch):
    write(root / "speech_commands_v0.01", files)
    speech.fetch("gsc13", progress=False)
    sha256 = data.load("gsc13").sha256
    for path in (root / "gsc13.bin", root / "speech_commands_v0.01"):
        path.rename(path.with_name(f"old {path.name}"))
    archive = root / "speech_commands_v0.01.tar.gz"
    write_archive(archive, files)
    assert "has sha256" in fetch_error("gsc13"), "an archive that is not the official one was used"
    official = speech.V1._replace(sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(speech, "V1", official)
    speech.fetch("gsc13", progress=False)
    check_loads(files, "official")
    assert data.load("gsc13").sha256 == sha256


def test_batches_do_not_matter(root, files, monkeypatch):
    monkeypatch.setattr(speech, "BATCH", 5)
    write(root / "speech_commands_v0.01", files)
    speech.fetch("gsc13", progress=False)
    check_loads(files, "folder")


def test_long_clip_is_cut(files):
    assert np.array_equal(speech._waveform("x", wav(sound(0, 17_000))), sound(0, 17_000)[:16_000])


WHOLE = wav(sound(0))
BROKEN = {
    "rate": (wav(sound(0), 44_100), r"44100 Hz, int16 \[16000\]; allowed: 16000 Hz"),
    "stereo": (wav(sound(0).reshape(-1, 2)), r"int16 \[8000, 2\]; allowed"),
    "float": (wav(sound(0) / np.float32(32768)), "float32"),
    "cut at a sample": (WHOLE[:-1000], "Reached EOF"),
    "cut in a sample": (WHOLE[:-1001], "cannot be read as wav"),
    "cut in the header": (WHOLE[:30], "cannot be read as wav"),
    "no wav": (b"<html>", "cannot be read as wav"),
    "empty": (b"", "cannot be read as wav"),
    "no samples": (wav(sound(0, 0)), r"int16 \[0\]|cannot be read"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_wav_is_named(root, files, content, reason):
    name = f"{WORDS[1]}/a_nohash_0.wav"
    write(root / "speech_commands_v0.01", files | {name: content})
    message = fetch_error("gsc13")
    assert re.search(f"{name}: .*{reason}", message)
    assert not (root / "gsc13.bin").exists()


@pytest.mark.parametrize("missing", LISTED)
def test_without_a_list_there_is_no_split(root, files, missing):
    del files[missing]
    write(root / "speech_commands_v0.01", files)
    assert missing in fetch_error("gsc13")


# ---- lists and folders as people have them


def rewritten(files, change):
    """The same files, with both lists changed, as bytes."""
    return files | {name: change(files[name].decode()) for name in LISTED}


LIST_FORMS = {
    "./": lambda text: text.replace("\n", "\n./").join(["./", ""]).encode(),
    "folder in front": lambda text: "\n".join(f"speech_commands_v0.01/{line}" for line in text.split()).encode(),
    "absolute": lambda text: "\n".join(f"/home/a b/{line}" for line in text.split()).encode(),
    "Windows": lambda text: "\r\n".join(
        f"C:\\My data\\v1\\{line}" for line in text.replace("/", "\\").split()
    ).encode(),
    "old Mac": lambda text: text.replace("\n", "\r").encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "PowerShell": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "big endian": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "spaces and empty lines": lambda text: ("\n\n" + text.replace("\n", "  \n\t\n ") + "\n\n").encode(),
    "on one line": lambda text: text.replace("\n", " ").encode(),
    "commas": lambda text: text.replace("\n", ",").encode(),
    "quoted": lambda text: "\n".join(f'"{line}";' for line in text.split()).encode(),
    "twice": lambda text: (text + "\n" + text).encode(),
    "other words": lambda text: (text + "\ndog/c_nohash_0.wav\nwow/x_nohash_1.wav").encode(),
}


@pytest.mark.parametrize("form", LIST_FORMS)
def test_lists_written_another_way_are_the_same_split(root, files, form):
    write(root / "speech_commands_v0.01", rewritten(files, LIST_FORMS[form]))
    speech.fetch("gsc13", progress=False)
    check_loads(files, "folder")


LIST_FAULTS = {
    "empty": (lambda text: b"", "0 clips of bed, cat, .*; allowed: 1 or more"),
    "blank": (lambda text: b"\xef\xbb\xbf\r\n \n", "0 clips of bed, cat, .*; allowed: 1 or more"),
    "of other words": (lambda text: b"dog/a_nohash_0.wav", "0 clips of bed, cat, .*; allowed: 1 or more"),
    "names alone": (lambda text: text.replace("/", "_").encode(), "'bed_[cd]_nohash_0.wav'; allowed: word/clip.wav"),
    "no names": (lambda text: b"<html>", "'<html>'; allowed: word/clip.wav"),
    "cut": (lambda text: text.encode()[:-3], "'down/[cd]_nohash_0.'; allowed: word/clip.wav"),
    "capitals": (lambda text: text.replace("bed", "Bed").encode(), "'Bed/[cd]_nohash_0.wav'; allowed: word/clip.wav"),
    "another ending": (
        lambda text: (
            text.replace("bed/d_nohash_0.wav", "bed/d.flac").replace("bed/c_nohash_0.wav", "bed/c.flac").encode()
        ),
        "'bed/[cd].flac'",
    ),
    "one not there": (
        lambda text: (text + "\ncat/zz_nohash_0.wav").encode(),
        "names 4 clips, 1 are not there, the first cat/zz_nohash_0.wav; allowed: ",
    ),
    "none there": (
        lambda text: text.replace("_nohash_0", "_nohash_7").encode(),
        "names 3 clips, 3 are not there, the first bed/[cd]_nohash_7.wav; allowed: ",
    ),
    "of a speaker who is trained on": (
        lambda text: text.split("\n")[0].encode(),
        "names 1 clips, 2 more, which it does not name, are of its speakers, the first cat/[cd]_nohash_0.wav",
    ),
}


@pytest.mark.parametrize("list_", LISTED)
@pytest.mark.parametrize("fault", LIST_FAULTS)
def test_a_list_that_gives_no_true_split_is_named_with_count_and_first_clip(root, files, list_, fault):
    change, message = LIST_FAULTS[fault]
    write(root / "speech_commands_v0.01", files | {list_: change(files[list_].decode())})
    assert re.search(f"{list_}: {message}", fetch_error("gsc13"))
    assert not (root / "gsc13.bin").exists()


def test_a_clip_in_both_lists_is_named(root, files):
    both = b"\n".join(files[name] for name in LISTED)
    write(root / "speech_commands_v0.01", files | {"testing_list.txt": both})
    message = "validation_list.txt: names 3 clips, 3 are in the other list too, the first bed/c_nohash_0.wav"
    assert message in fetch_error("gsc13")


@pytest.mark.parametrize("gone", ["bed", "down"])
def test_a_folder_half_extracted_is_named(root, files, gone):
    write(root / "speech_commands_v0.01", {k: v for k, v in files.items() if not k.startswith(gone)})
    message = (
        f"validation_list.txt: names 3 clips, 1 are not there, the first {gone}/c_nohash_0.wav; allowed: the list and"
    )
    assert message in fetch_error("gsc13")


def test_a_folder_without_training_clips_is_refused(root, files):
    write(root / "speech_commands_v0.01", {k: v for k, v in files.items() if not re.search("/[ab]_", k)})
    assert "has (0, 3, 3) clips to train, validate, test; allowed: (22665, 3105, 3108)" in fetch_error("gsc13")


def test_hidden_files_of_other_systems_are_no_clips(root, files):
    hidden = {f"{WORDS[0]}/._a_nohash_0.wav": b"Mac", f"{WORDS[1]}/.DS_Store": b"Mac", ".DS_Store": b"Mac"}
    hidden |= {
        "__MACOSX/bed/._a_nohash_0.wav": b"Mac",
        f"{WORDS[1]}/Thumbs.db": b"Windows",
        "._testing_list.txt": b"Mac",
    }
    write(root / "speech_commands_v0.01", files | hidden)
    speech.fetch("gsc13", progress=False)
    check_loads(files, "folder")


@pytest.mark.parametrize(
    "place", ["SpeechCommands/speech_commands_v0.01", "speech_commands_v0.01/speech_commands_v0.01"]
)
def test_folders_in_folders_are_found(root, files, place):
    write(root / place, files)
    speech.fetch("gsc13", progress=False)
    check_loads(files, "folder")


def test_a_part_is_not_called_verified(root, files, capsys):
    write(root / "speech_commands_v0.01", files)
    assert main(["data", "gsc13"]) == 0
    output = capsys.readouterr().out
    assert "6 training and 3 test examples, source folder, 0.042 % of the data set" in output
    assert "verified" not in output
    assert f"delete {root / 'gsc13.bin'} and run this again" in output


def test_folder_of_v2_must_be_complete(root, files):
    write(root / "speech_commands_v0.02", files)
    assert "(7, 3, 3) clips to train, validate, test; allowed: (84843, 9981, 11005)" in fetch_error("gsc")


def test_changed_features_are_refused(root):
    (root / "gsc13_mfcc.npz").write_bytes(b"x")
    assert f"allowed: {speech.GSC13_SHA256}" in fetch_error("gsc13")


@pytest.mark.parametrize("name", ["gsc", "gsc13"])
def test_error_says_what_was_tried_and_what_to_do(root, name):
    message = fetch_error(name)
    for part in ("official: URLError", "refused", "folder: FileNotFoundError", ".tar.gz", "ATIF_DATA", str(root)):
        assert part in message
    with pytest.raises(data.DataUnavailable, match=f"run: python -m atif_lib data {name}"):
        data.load(name)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"='gsc35'; allowed: 'gsc', 'gsc13', 'keywords'"):
        speech.fetch("gsc35")


def test_releases_are_torchaudios():
    for release in (speech.V1, speech.V2):
        assert speechcommands._CHECKSUMS[release.url] == release.sha256
    assert speech.V2.version == speechcommands.URL


# ---- the real thing


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    with tarfile.open(shared("speech_commands_sample.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


def sample_names(sample):
    folder = sample / "speech_commands_sample"
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.wav"))


def official_part(name):
    """Where the official split puts a clip: by the SHA-1 of its speaker, 10 % to validate, 10 % to test.

    Source: `which_set` in the README of Speech Commands (Warden 2018, section 7).
    """
    most = 2**27 - 1
    speaker = re.sub("_nohash_.*$", "", Path(name).name)
    percentage = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (most + 1) * (100 / most)
    return 1 if percentage < 10 else 2 if percentage < 20 else 0


def check_split(names, parts):
    assert [official_part(name) for name in names] == parts
    speakers = [
        {Path(name).name.split("_")[0] for name, p in zip(names, parts, strict=True) if p == k} for k in (0, 1, 2)
    ]
    assert all(speakers)
    assert not (speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2])


def test_features_of_the_sample_are_the_stored_ones(sample, monkeypatch):
    with np.load(shared("gsc13_mfcc.npz")) as arrays:
        stored, where, split = arrays["mfcc"], {name: i for i, name in enumerate(arrays["clip"])}, arrays["split"]
    monkeypatch.setenv("ATIF_DATA", str(sample))
    clips = np.fromfile(speech.fetch("gsc13", progress=False), speech.CLIP)
    index = [where[name] for name in sample_names(sample)]
    assert len(clips) == 1040
    assert clips["part"].tolist() == split[index].tolist()
    mine, theirs = clips["mfcc"].astype(np.float64), stored[index].astype(np.float64)
    spacing = np.spacing(np.maximum(np.abs(mine), np.abs(theirs)).astype(np.float16)).astype(np.float64)
    # Two roundings to float16 of numbers that differ by float32's own error, 2e-4 at most in the logarithm of silence
    assert (np.abs(mine - theirs) <= spacing + 2e-4).all()
    assert (mine == theirs).mean() > 0.95


def test_split_of_the_sample_is_speaker_disjoint(sample):
    folder = sample / "speech_commands_sample"
    lists = [set((folder / name).read_text().split()) for name in speech.LISTS]
    names = sample_names(sample)
    check_split(names, [1 if name in lists[0] else 2 if name in lists[1] else 0 for name in names])


def test_gsc13_features(tmp_path, monkeypatch):
    (tmp_path / "gsc13_mfcc.npz").symlink_to(shared("gsc13_mfcc.npz"))
    monkeypatch.setenv("ATIF_DATA", str(tmp_path))
    data.fetch("gsc13", progress=False)
    examples, held_out = data.load("gsc13"), data.load("gsc13", validation=True)
    assert examples.source == "features"
    sizes = [len(labels) for labels in (examples.train_labels, held_out.test_labels, examples.test_labels)]
    assert sizes == [22_665, 3_105, 3_108]
    assert examples.train_inputs.shape == (22_665, 1, 49, 10)
    assert torch.equal(held_out.train_inputs, examples.train_inputs)
    with np.load(shared("gsc13_mfcc.npz")) as arrays:
        assert tuple(arrays["words"]) == examples.classes
        assert np.array_equal(arrays["mfcc"][arrays["split"] == 2], examples.test_inputs[:, 0].numpy())
        assert np.array_equal(arrays["label"][arrays["split"] == 1], held_out.test_labels.numpy())
        check_split(arrays["clip"].tolist(), arrays["split"].tolist())


# ---- synthesised keywords


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    pytest.importorskip("espeakng_loader")
    return list(keywords.voices(tmp_path_factory.mktemp("espeak")))


def test_keywords_are_sounds_of_their_own(spoken):
    clips = torch.cat([waveforms for _, waveforms in spoken])
    assert clips.shape == (40 * keywords.TAKES * 35, 16_000)
    assert clips.dtype == torch.int16
    assert (clips.float().square().mean(1).sqrt() > 100).all()
    assert len({clip.numpy().tobytes() for clip in clips}) == len(clips)
    assert [part for part, _ in spoken].count(2) == keywords.TEST
    assert [part for part, _ in spoken].count(1) == keywords.VALIDATION
    assert len(set(keywords.VARIANTS.split())) == len(spoken), "a voice is in two parts"


def test_keywords_are_the_same_each_time(spoken, tmp_path):
    for (part, clips), (again, same) in zip(spoken[:3], keywords.voices(tmp_path), strict=False):
        assert part == again
        assert torch.equal(clips, same)


@pytest.fixture(scope="module")
def examples(spoken, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATIF_DATA", str(tmp_path_factory.mktemp("keywords")))
        patch.setattr(keywords, "voices", lambda work: iter(spoken))
        return data.load("keywords"), data.load("keywords", validation=True)


def test_words_are_told_apart_in_voices_never_heard(examples):
    for part in examples:
        assert part.source == "synthesised (eSpeak NG)"
        assert len(part.classes) == 35
        assert part.train_labels.bincount().tolist() == [28 * keywords.TAKES] * 35
        assert part.test_labels.bincount().tolist() == [6 * keywords.TAKES] * 35
        scale = data.normalizer(part)
        train, test = scale(part.train_inputs).flatten(1), scale(part.test_inputs).flatten(1)
        centroids = torch.stack([train[part.train_labels == word].mean(0) for word in range(35)])
        right = torch.cdist(test, centroids).argmin(1) == part.test_labels
        assert right.float().mean() > 0.12, "chance is 0.03"


def test_without_espeak(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert "pip install espeakng-loader, and a torchaudio that loads" in fetch_error("keywords")


def test_espeak_without_its_data(root, monkeypatch):
    loader = pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(loader, "get_data_path", lambda: str(root))
    assert f"eSpeak NG cannot use its data in {root}" in fetch_error("keywords")
