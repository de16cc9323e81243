"""Data sets by name, their validation splits and scales."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from atif_lib import data


def random_images(count, channels=3, height=6, width=7, seed=0):
    shape, generator = (count, channels, height, width), torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def examples(inputs):
    return data.Examples(inputs, torch.arange(len(inputs)), inputs[:0], torch.arange(0), ("a",), "name", "source", "")


@pytest.mark.parametrize("name", ["cifr10", "imagenet"])
def test_unknown_name_lists_the_known_and_suggests_near_ones(name):
    near = ": did you mean cifar10" if name == "cifr10" else ""
    for call in (data.load, data.fetch):
        with pytest.raises(ValueError, match=rf"name='{name}'; allowed: 'cifar10', 'cifar100', 'digits'.*{near}"):
            call(name)


def rows(inputs, labels):
    return {(*row, label) for row, label in zip(inputs.flatten(1).tolist(), labels.tolist(), strict=True)}


def test_validation_examples_are_training_examples_and_the_test_examples_are_not_there(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("ATIF_DATA", str(tmp_path))
    whole, split, again = data.load("digits"), *(data.load("digits", validation=True) for _ in range(2))
    train, held = rows(*split[:2]), rows(*split[2:4])
    assert train | held == rows(*whole[:2])
    assert not train & held
    assert not (train | held) & rows(*whole[2:4]), "official test examples are in it"
    assert (len(split.train_labels), len(split.test_labels)) == (1350, 150)
    share = split.test_labels.bincount() - whole.train_labels.bincount() / 10
    assert share.abs().max() < 1
    assert all(torch.equal(a, b) for a, b in zip(split[:4], again[:4], strict=True))
    assert split.sha256 == whole.sha256


def test_images_are_normalised_by_channel():
    images = random_images(50)
    normalize = data.normalizer(examples(images))
    exact = images.double() / 255
    mean, std = exact.mean((0, 2, 3)).tolist(), exact.std((0, 2, 3), correction=0).tolist()
    expected = tv.normalize(tv.to_dtype(images, torch.float32, scale=True), mean, std)
    torch.testing.assert_close(normalize(images), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        normalize(images[:9].float()), expected[:9], atol=1e-6, rtol=0
    )  # mixed images are floats


def test_features_are_normalised_by_coefficient():
    scale, generator = torch.tensor([1.0, 30.0, 5.0]), torch.Generator().manual_seed(0)
    features = (torch.randn(40, 1, 9, 3, generator=generator) * scale - 7 * scale).half()
    scaled = data.normalizer(examples(features))(features)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean((0, 1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std((0, 1, 2), correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [2, 3])
def test_float_images_are_normalised_by_channel_too(channels):
    images = random_images(50, channels)
    expected = data.normalizer(examples(images))(images)
    for scale, dtype in ((255, torch.float32), (1, torch.float32), (255, torch.float16), (1, torch.bfloat16)):
        floats = (images / scale).to(dtype)
        found = data.normalizer(examples(floats))(floats)
        torch.testing.assert_close(found, expected, atol=1e-5 if dtype == torch.float32 else 2e-3, rtol=0)


def test_a_border_of_equal_values_does_no_harm():
    """Each column of a border is constant, and so is a channel that is off, or a coefficient that never changes."""
    images = random_images(50)
    images[..., :2], images[:, 1] = 0, 0
    for inputs in (images, images / 255, images.float() + 0.1):
        found = data.normalizer(examples(inputs))(inputs)
        assert found.isfinite().all()
        assert (found[:, 1] == 0).all()
        torch.testing.assert_close(found[:, ::2].std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    features = torch.randn(40, 1, 9, 3, generator=torch.Generator().manual_seed(0))
    features[..., 1] = 0.1
    found = data.normalizer(examples(features))(features)
    assert found.isfinite().all()
    assert found[..., 1].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            torch.full((2, 3, 4, 4), torch.nan),
            "train_inputs hold 96 NaN or infinite values of 96; allowed: finite ones",
        ),
        (
            torch.full((2, 1, 4, 4), torch.inf),
            "train_inputs hold 32 NaN or infinite values of 32; allowed: finite ones",
        ),
        (random_images(0), r"train_inputs \[0, 3, 6, 7\]; allowed: \[N, C, H, W\], 1 or more of each"),
        (random_images(4).flatten(2), r"train_inputs \[4, 3, 42\]; allowed: \[N, C, H, W\], 1 or more of each"),
    ],
)
def test_inputs_without_mean_and_spread_are_named(inputs, message):
    with pytest.raises(ValueError, match=message):
        data.normalizer(examples(inputs))


def test_normalizer_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"inputs \[2, 1, 6, 7\]; allowed: \[N, 3, 6, 7\]"):
        data.normalizer(examples(random_images(4)))(random_images(2, 1))
