"""The 35 keywords spoken by eSpeak NG, for the smoke profile only: they try the code and stand for no result.

A voice is a variant of eSpeak NG (its formants and intonation) with an accent, pitch and rate of its own. Each voice is
in one part only, so validation and test are by voices never heard in training.
"""

import ctypes
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

WORDS = (
    "backward bed bird cat dog down eight five follow forward four go happy house learn left marvin nine no off on one "
    "right seven sheila six stop three tree two up visual wow yes zero"
)
ACCENTS = "en en-us en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc"
VARIANTS = (  # those that sound like people
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Andrea Andy Annie Denis Gene Henrique Hugo Lee Michael Mike anika "
    "aunty belinda david ed edward grandma grandpa ian john linda max pablo shelby steph travis"
)
SAMPLE_RATE = 16_000  # of the clips, which last one second
TAKES, VALIDATION, TEST, SEED = 2, 6, 6, 0  # takes of each word; voices for validation and for test
SYNCHRONOUS, DONT_EXIT, UTF8, RATE, PITCH = 2, 0x8000, 1, 1, 3  # constants of speak_lib.h

Say = Callable[[str, str, int, int], np.ndarray]


def voices(work: Path) -> Iterator[tuple[int, Tensor]]:
    """Yield each voice's part (0 train, 1 validation, 2 test) and clips int16 [TAKES·35, 16000], word after word.

    `work` takes a copy of eSpeak NG's library. OSError, ImportError, RuntimeError where eSpeak NG does not work.
    """
    draw = Generator().manual_seed(SEED)
    say, rate, end = _espeak(work)
    names, accents = VARIANTS.split(), ACCENTS.split()
    try:
        for place, index in enumerate(torch.randperm(len(names), generator=draw).tolist()):
            voice = f"{accents[place % len(accents)]}+{names[index]}"
            part = 2 if place < TEST else int(place < TEST + VALIDATION)
            pitch, speed = (int(torch.randint(low, high, (), generator=draw)) for low, high in ((35, 66), (150, 191)))
            takes = [_take(say, rate, voice, pitch, speed, draw) for _ in range(TAKES)]
            yield part, torch.cat(takes)
    finally:
        end()


def _take(say: Say, rate: int, voice: str, pitch: int, speed: int, draw: Generator) -> Tensor:
    """Return the words said once, int16 [35, 16000]: pitch and rate vary by word, then place, loudness and noise."""
    from torchaudio.functional import resample

    clips = torch.zeros(len(WORDS.split()), SAMPLE_RATE)
    for clip, word in zip(clips, WORDS.split(), strict=True):
        higher, faster = torch.randint(-8, 9, (2,), generator=draw).tolist()
        sound = torch.from_numpy(say(voice, word, pitch + higher, speed + faster).astype(np.float32))
        sound = resample(sound, rate, SAMPLE_RATE)[:SAMPLE_RATE]
        start = int(torch.randint(SAMPLE_RATE - len(sound) + 1, (), generator=draw))
        clip[start : start + len(sound)] = sound / sound.abs().max()
    size = (len(clips), 1)
    loudness, snr = (torch.empty(size).uniform_(low, high, generator=draw) for low, high in ((0.1, 0.9), (10, 30)))
    noise = torch.randn(clips.shape, generator=draw) * clips.square().mean(1, keepdim=True).sqrt() * 10 ** (-snr / 20)
    return ((clips + noise) * loudness * 32767).round().clamp(-32768, 32767).to(torch.int16)


def _espeak(work: Path) -> tuple[Say, int, Callable[[], int]]:
    """Return `say(voice, word, pitch 0..99, words a minute)` to int16 [samples], the sample rate, and what ends it."""
    import espeakng_loader

    # The library keeps state between words and after its end: only a fresh copy of it speaks the same each time.
    library = ctypes.CDLL(str(shutil.copy(espeakng_loader.get_library_path(), work)))
    data = espeakng_loader.get_data_path()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DONT_EXIT)
    if rate <= 0:
        raise RuntimeError(f"eSpeak NG cannot use its data in {data} (a path too long for it?)")
    heard: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def hear(samples, count: int, _) -> int:  # noqa: ANN001
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(hear)
    library.hear = hear  # or it is collected while eSpeak NG still calls it
    library.espeak_ng_SetRandSeed(ctypes.c_long(SEED + 1))

    def say(voice: str, word: str, pitch: int, speed: int) -> np.ndarray:
        heard.clear()
        failed = library.espeak_SetVoiceByName(voice.encode())  # first: it sets rate and pitch of its own
        library.espeak_SetParameter(RATE, speed, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        size = ctypes.c_size_t(len(word) + 1)
        failed = failed or library.espeak_Synth(word.encode(), size, 0, 0, 0, UTF8, None, None)
        if failed or not any(part.any() for part in heard):
            raise RuntimeError(f"eSpeak NG said nothing for word={word!r}, voice={voice!r} (status {failed})")
        return np.concatenate(heard)

    return say, rate, library.espeak_Terminate
