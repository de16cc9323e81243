"""Spoken keywords as MFCC features: Google Speech Commands (Warden 2018, arXiv:1804.03209, CC BY 4.0), or synthesised.

`gsc` is V2 with its 35 words; `gsc13` is 13 words of V1, for development; `keywords` is the voice of eSpeak NG, for the
smoke profile. The official lists of validation and test clips are kept: no speaker is in two parts.
"""

import codecs
import re
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from functools import cache, partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from atif_lib import checks
from atif_lib.data import storage
from atif_lib.data import synthetic_speech as keywords
from atif_lib.data.download import download
from atif_lib.data.storage import Dataset, file_sha256
from atif_lib.paths import data_folder

NAMES = ("gsc", "gsc13", "keywords")
SAMPLE_RATE, COEFFICIENTS, FRAMES = 16_000, 10, 49
SPECTRUM = {"n_fft": 1024, "win_length": 640, "hop_length": 320, "pad": 320, "center": False}
MELS = {"n_mels": 40, "f_min": 20.0, "f_max": 4000.0}
BATCH = 256  # clips at a time: 16 MB of samples, 51 MB of spectrum
LISTS = ("validation_list.txt", "testing_list.txt")
WORDS = frozenset(keywords.WORDS.split())
IN_LIST = re.compile(r"([^\s\\/,;\"']+)[\\/]([^\s\\/,;\"']+\.wav)")
CLIP = np.dtype([("mfcc", "<f2", (FRAMES, COEFFICIENTS)), ("label", "u1"), ("part", "u1")])  # part: 0, 1, 2
HINT = (
    "go online (a broken download goes on where it stopped; 3 GB free), or put {} or its extracted folder there; "
    "ATIF_DATA sets another folder; 'keywords' needs no data"
)
Sounds = Iterable[tuple[str, bytes]]  # of each file its path below the root and what is in it


class Release(NamedTuple):
    """An official archive of wavs; `url` and `sha256` as in torchaudio's SPEECHCOMMANDS."""

    version: str
    sha256: str

    @property
    def url(self) -> str:
        return f"http://download.tensorflow.org/data/{self.version}.tar.gz"


V1 = Release("speech_commands_v0.01", "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d")
V2 = Release("speech_commands_v0.02", "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58")
V2_CLIPS = (84_843, 9_981, 11_005)  # train, validation, test
GSC13_CLIPS = (22_665, 3_105, 3_108)
GSC13 = ("bed", "cat", "down", "five", "four", "happy", "no", "one", "three", "two", "up", "yes", "zero")
GSC13_SHA256 = "578f53915d3b304a8b6c071925de46e731b36fcbab9152460334d5d19eb87076"  # of gsc13_mfcc.npz


def mfcc(waveforms: Tensor) -> Tensor:
    """Return the Mel frequency cepstral coefficients of sounds at 16 kHz as the paper takes them, section 4.

    10 coefficients of 40 logarithmic mel bands from 20 Hz to 4 kHz; FFT of 1024, window 640, hop 320, 320 zeros on
    both sides: frames = 1 + ⌊(samples + 2·320 - 1024) / 320⌋, which for 16,000 samples is 1 + ⌊48.8⌋ = 49. The paper
    writes 48, which is ⌊48.8⌋ itself: the hops, without the first frame. We keep all 49.

    Shapes: [N, samples] in -1..1 to [N, frames, 10], float32 or float64. Raises ValueError for another type or shape.
    """
    shortest = SPECTRUM["n_fft"] - 2 * SPECTRUM["pad"]
    wide = waveforms.dtype in (torch.float32, torch.float64)
    if waveforms.ndim != 2 or not wide or not len(waveforms) or waveforms.shape[1] < shortest:
        found = f"{waveforms.dtype} {[*waveforms.shape]}"
        raise ValueError(
            f"waveforms are {found}; allowed: float32 or float64 [N, samples], N 1 or more, samples {shortest} or more"
        )
    return _transform(waveforms.device, waveforms.dtype)(waveforms).transpose(1, 2)


@cache
def _transform(device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    from torchaudio.transforms import MFCC

    return MFCC(SAMPLE_RATE, COEFFICIENTS, log_mels=True, melkwargs=SPECTRUM | MELS).to(device, dtype)


def fetch(name: str, progress: bool = True) -> Path:
    """Bring data set `name` into `data_folder`, unless it is there; return its file. DataUnavailable, ValueError."""
    return storage.fetch(name, _dataset(name, progress), progress)


def _dataset(name: str, progress: bool = False) -> Dataset:
    checks.choice("name of a set of spoken keywords", name, NAMES)
    return {"gsc": _gsc, "gsc13": _gsc13, "keywords": _keywords}[name](progress)


def _gsc(progress: bool) -> Dataset:
    sources = _official(V2, tuple(keywords.WORDS.split()), (), V2_CLIPS, False, progress)
    return Dataset(tuple(keywords.WORDS.split()), sources, _unpack, HINT.format(f"{V2.version}.tar.gz"))


def _gsc13(progress: bool) -> Dataset:
    sources = ("features", _features), *_official(V1, GSC13, ("speech_commands_sample",), GSC13_CLIPS, True, progress)
    hint, size = HINT.format(f"gsc13_mfcc.npz, {V1.version}.tar.gz"), CLIP.itemsize * sum(GSC13_CLIPS)
    return Dataset(GSC13, sources, _unpack, hint, size=size)


def _official(
    release: Release, words: tuple[str, ...], more: tuple[str, ...], clips: tuple[int, ...], parts: bool, progress: bool
) -> tuple[tuple[str, storage.Source], ...]:
    """Return the sources of a release: its folder as tar, torchaudio or Windows make it, or another; its archive."""
    name = release.version
    folders = (name, f"SpeechCommands/{name}", f"{name}/{name}", *more)
    return (
        ("folder", partial(_folder, folders, words, clips, parts, progress)),
        ("official", partial(_archive, release, words, progress)),
    )


def _keywords(_: bool) -> Dataset:
    sources, parts = (("synthesised (eSpeak NG)", _synthesised),), len(keywords.VARIANTS.split())
    classes = tuple(keywords.WORDS.split())
    hint = "pip install espeakng-loader, and a torchaudio that loads with the torch that is here"
    return Dataset(classes, sources, _unpack, hint, parts=parts, installed=True)


def _unpack(packed: np.ndarray, validation: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    clips = packed.view(CLIP)
    train, test = (clips[clips["part"] == part] for part in (0, 1 if validation else 2))
    inputs, labels = (
        [torch.from_numpy(np.array(part[field], kind)) for part in (train, test)]
        for field, kind in (("mfcc", np.float16), ("label", np.int64))
    )
    return inputs[0].unsqueeze(1), labels[0], inputs[1].unsqueeze(1), labels[1]


def _pack(features: np.ndarray, labels: Iterable[int], parts: Iterable[int]) -> np.ndarray:
    clips = np.empty(len(features), CLIP)
    clips["mfcc"], clips["label"], clips["part"] = features, labels, parts
    return clips


def _half(waveforms: Tensor) -> np.ndarray:
    return mfcc(waveforms / 32768).half().numpy()  # int16 to -1..1


# ---- sources


def _synthesised(work: Path) -> Iterator[np.ndarray]:
    for part, waveforms in keywords.voices(work):
        labels = np.arange(len(waveforms)) % len(keywords.WORDS.split())
        yield _pack(_half(waveforms), labels, np.full(len(waveforms), part))


def _features(work: Path) -> Iterator[np.ndarray]:
    """Yield the clips of the file of features of the 13 words."""
    path = data_folder() / "gsc13_mfcc.npz"
    found = file_sha256(path)
    if found != GSC13_SHA256:
        raise ValueError(f"{path} has sha256 {found}; allowed: {GSC13_SHA256}")
    with np.load(path) as arrays:
        yield _pack(arrays["mfcc"], arrays["label"], arrays["split"])


def _archive(release: Release, words: tuple[str, ...], progress: bool, work: Path) -> Iterator[np.ndarray]:
    """Yield the clips of an official archive, put into the data root by hand or downloaded; read, never extracted."""
    path = data_folder() / f"{release.version}.tar.gz"
    if not path.is_file():
        download(release.url, path, release.sha256, progress)
    elif (found := file_sha256(path)) != release.sha256:
        raise ValueError(f"{path} has sha256 {found}; allowed: {release.sha256}; delete or replace it")

    def sounds(archive: tarfile.TarFile) -> Sounds:
        for member in archive:
            if member.isfile():
                yield member.name.removeprefix("./"), storage.member_bytes(archive, member)
            # tarfile would keep a note of each of 100,000 files, in a list that its types do not know.
            archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]

    with tarfile.open(path, "r|gz") as archive:
        yield _clips(sounds(archive), words, progress)


def _folder(
    names: tuple[str, ...], words: tuple[str, ...], whole: tuple[int, ...], parts: bool, progress: bool, work: Path
) -> Iterator[np.ndarray]:
    """Yield the clips of the first folder that is there, in the official layout: `word/speaker_nohash_k.wav`, lists.

    It may hold fewer clips than `whole`, those to train, validate and test, where `parts` allows it.
    """
    folders = [folder for folder in (data_folder() / name for name in names) if folder.is_dir()]
    if not folders:
        raise FileNotFoundError(f"no folder {' or '.join(names)} there")
    folder = next((folder for folder in folders if any((folder / name).is_file() for name in LISTS)), folders[0])
    files = sorted(path.relative_to(folder).as_posix() for word in words for path in (folder / word).glob("*.wav"))
    clips = [name for name in files if _is_clip(name, words)]
    lists = {name: _listed(name, (folder / name).read_bytes(), words) for name in LISTS}
    _check_lists(clips, lists, speakers=parts)  # of the whole the numbers of clips are held to the official ones
    packed = _clips(((name, (folder / name).read_bytes()) for name in (*LISTS, *clips)), words, progress)
    found = tuple(np.bincount(packed["part"], minlength=3).tolist())
    if found != whole and not (parts and all(found) and sum(found) < sum(whole)):
        raise ValueError(f"{folder} has {found} clips to train, validate, test; allowed: {whole}")
    yield packed


def _clips(sounds: Sounds, words: tuple[str, ...], progress: bool) -> np.ndarray:
    """Return the clips of `words` in the order of their names, with the part that the official lists say."""
    lists: dict[str, set[str]] = {}
    waveforms = iter(tqdm(_waveforms(sounds, words, lists), "clips", leave=False, disable=not progress))
    names, features = [], []
    while batch := list(islice(waveforms, BATCH)):  # all waveforms at once would be 6.8 GB of floats
        names += [name for name, _ in batch]
        features.append(_half(torch.from_numpy(np.stack([waveform for _, waveform in batch]))))
    if not names or len(lists) < len(LISTS):
        raise ValueError(f"found {len(names)} clips and the lists {sorted(lists)}; allowed: 1 or more, {sorted(LISTS)}")
    validation, test = (lists[name] for name in LISTS)
    parts = [2 if name in test else int(name in validation) for name in names]
    labels = [words.index(name.split("/")[0]) for name in names]
    return _pack(np.concatenate(features), labels, parts)[np.argsort(names)]


def _listed(list_: str, content: bytes, words: tuple[str, ...]) -> set[str]:
    """Return the clips of `words` that a list names, as `word/clip.wav`, however the list is written.

    A path may begin further up and have backslashes, lines may end as on any system, and a byte order mark may lead.

    Raises:
        ValueError: a line that names no clip of Speech Commands, or no line of these words.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell writes
    text = content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    found = []
    for line in filter(str.strip, text.splitlines()):
        clips = IN_LIST.findall(line)
        if len(clips) != max(1, line.lower().count(".wav")) or not {word for word, _ in clips} <= WORDS:
            raise ValueError(f"{list_}: {line.strip()[:80]!r}; allowed: word/clip.wav, with a word of Speech Commands")
        found += [f"{word}/{clip}" for word, clip in clips if word in words]
    if not found:
        raise ValueError(f"{list_}: 0 clips of {', '.join(words)}; allowed: 1 or more")
    return set(found)


def _check_lists(names: list[str], lists: dict[str, set[str]], speakers: bool) -> None:
    """Refuse lists that do not fit the clips, with list, count and first clip: a test clip could be trained on."""
    for list_, listed in lists.items():
        heard = {_speaker(name) for name in listed if speakers}
        faults = {
            "are not there": listed - set(names),
            "are in the other list too": listed & set().union(*(lists[other] for other in lists if other != list_)),
            "more, which it does not name, are of its speakers": {n for n in names if _speaker(n) in heard} - listed,
        }
        for fault, clips in faults.items():
            if clips:
                raise ValueError(
                    f"{list_}: names {len(listed)} clips, {len(clips)} {fault}, the first {min(clips)}; "
                    "allowed: the list and all clips of the archive, in which no speaker is in two parts"
                )


def _speaker(name: str) -> str:
    return name.split("/")[1].split("_nohash_")[0]


def _is_clip(name: str, words: tuple[str, ...]) -> bool:
    """Say whether a path is that of a clip of `words`; a name that begins with a dot is another system's note."""
    word, *_, last = name.split("/")
    return word in words and last.endswith(".wav") and not last.startswith(".")


def _waveforms(sounds: Sounds, words: tuple[str, ...], lists: dict[str, set[str]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and samples of each clip of `words`; put what is in the lists into `lists`."""
    for name, content in sounds:
        if name in LISTS:
            lists[name] = _listed(name, content, words)
        elif _is_clip(name, words):
            yield name, _waveform(name, content)


def _waveform(name: str, content: bytes) -> np.ndarray:
    """Return the samples of a wav file, int16 [16000]: zeros follow a shorter one, a longer one is cut."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Reached EOF prematurely")
            rate, samples = wavfile.read(BytesIO(content))
    except Exception as error:  # scipy has no error of its own for a broken file
        raise ValueError(f"{name}: cannot be read as wav: {error or type(error).__name__}") from error
    if rate != SAMPLE_RATE or samples.dtype != np.int16 or samples.ndim != 1 or not len(samples):
        found = f"{rate} Hz, {samples.dtype} {[*samples.shape]}"
        raise ValueError(f"{name}: {found}; allowed: {SAMPLE_RATE} Hz, int16 [samples], 1 or more")
    samples = samples[:SAMPLE_RATE]
    return np.pad(samples, (0, SAMPLE_RATE - len(samples)))


DATASETS = {name: _dataset(name) for name in NAMES}
