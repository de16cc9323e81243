"""The 35 keywords spoken by eSpeak NG, for the smoke profile only: they try the code and stand for no result.

A voice is a variant of eSpeak NG (its formants and intonation) with an accent, pitch and rate of its own. Each voice is
in one part only, so validation and test are by voices never heard in training.
"""

import ctypes
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

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


def voices(work: Path) -> Iterator[tuple[int, Tensor]]:
    """Yield each voice's part (0 train, 1 validation, 2 test) and clips int16 [TAKES·35, 16000], word after word.

    `work` takes a copy of eSpeak NG's library. OSError, ImportError, RuntimeError where eSpeak NG does not work.
    """
    draw = Generator().manual_seed(SEED)
    library, rate = _espeak(work)
    names, accents = VARIANTS.split(), ACCENTS.split()
    try:
        for place, index in enumerate(torch.randperm(len(names), generator=draw).tolist()):
            voice = f"{accents[place % len(accents)]}+{names[index]}"
            part = 2 if place < TEST else int(place < TEST + VALIDATION)
            pitch, speed = (int(torch.randint(low, high, (), generator=draw)) for low, high in ((35, 66), (150, 191)))
            takes = [_take(library, rate, voice, pitch, speed, draw) for _ in range(TAKES)]
            yield part, torch.cat(takes)
    finally:
        library.espeak_Terminate()


def _take(library: ctypes.CDLL, rate: int, voice: str, pitch: int, speed: int, draw: Generator) -> Tensor:
    """Return the words said once, int16 [35, 16000]: pitch and rate vary by word, then place, loudness and noise."""
    from torchaudio.functional import resample

    changes = torch.randint(-8, 9, (len(WORDS.split()), 2), generator=draw).tolist()
    said = [
        _say(library, voice, word, pitch + up, speed + on)
        for word, (up, on) in zip(WORDS.split(), changes, strict=True)
    ]
    sounds = pad_sequence([torch.from_numpy(sound.astype(np.float32)) for sound in said], batch_first=True)
    sounds = resample(sounds / sounds.abs().amax(1, keepdim=True), rate, SAMPLE_RATE)[:, :SAMPLE_RATE]
    clips = pad(sounds, (0, SAMPLE_RATE - sounds.shape[1]))
    for clip, sound in zip(clips, said, strict=True):
        room = max(SAMPLE_RATE - math.ceil(len(sound) * SAMPLE_RATE / rate), 0)
        clip.copy_(clip.roll(int(torch.randint(room + 1, (), generator=draw))))  # of zeros: nothing comes round
    size = (len(clips), 1)
    loudness, snr = (torch.empty(size).uniform_(low, high, generator=draw) for low, high in ((0.1, 0.9), (10, 30)))
    noise = torch.randn(clips.shape, generator=draw) * clips.square().mean(1, keepdim=True).sqrt() * 10 ** (-snr / 20)
    return ((clips + noise) * loudness * 32767).round().clamp(-32768, 32767).to(torch.int16)


def _espeak(work: Path) -> tuple[ctypes.CDLL, int]:
    """Return eSpeak NG's library, ready to speak, and its sample rate in Hz."""
    import espeakng_loader

    # The library keeps state between words and after its end: only a fresh copy of it speaks the same each time.
    library = ctypes.CDLL(str(shutil.copy(espeakng_loader.get_library_path(), work)))
    data = espeakng_loader.get_data_path()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DONT_EXIT)
    if rate <= 0:
        raise RuntimeError(f"eSpeak NG cannot use its data in {data} (a path too long for it?)")
    library.espeak_ng_SetRandSeed(ctypes.c_long(SEED + 1))
    return library, rate


def _say(library: ctypes.CDLL, voice: str, word: str, pitch: int, speed: int) -> np.ndarray:
    """Return a word as int16 [samples], at a pitch in 0..99 and a speed in words a minute."""
    heard = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def hear(samples, count: int, _) -> int:
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(hear)
    failed = library.espeak_SetVoiceByName(voice.encode())  # first: it sets rate and pitch of its own
    library.espeak_SetParameter(RATE, speed, 0)
    library.espeak_SetParameter(PITCH, pitch, 0)
    size = ctypes.c_size_t(len(word) + 1)
    failed = failed or library.espeak_Synth(word.encode(), size, 0, 0, 0, UTF8, None, None)
    library.espeak_SetSynthCallback(None)
    if failed or not any(part.any() for part in heard):
        raise RuntimeError(f"eSpeak NG said nothing for word={word!r}, voice={voice!r} (status {failed})")
    return np.concatenate(heard)
