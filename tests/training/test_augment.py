"""Whole batches come out as torchvision's operations for one image make them, with draws of their own for each."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from atif_lib.training import augment, auto_augment


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(count, height=6, width=7, seed=0):
    return torch.randint(256, (count, 3, height, width), generator=seeded(seed), dtype=torch.uint8)


def random_features(count, seed=0, dtype=torch.float16):
    return torch.randn(count, 1, 49, 10, generator=seeded(seed), dtype=torch.float64).to(dtype)


INPUTS = {
    name: random_features(64) if name in ("shift", "mask") else random_images(64, 32, 32)
    for name in augment.AUGMENTATIONS
}


@pytest.mark.parametrize("name", INPUTS)
def test_draws_follow_the_generator_alone_and_differ_between_examples(name):
    function, inputs = augment.AUGMENTATIONS[name], INPUTS[name]
    same = inputs[:1].expand_as(inputs)
    before, torch_state, numpy_state = inputs.clone(), torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    first, again, other = (function(same, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique(dim=0)) > 1, "every example has the same draw"
    assert (first.shape, first.dtype, first.is_contiguous()) == (inputs.shape, inputs.dtype, True)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == numpy_state  # noqa: NPY002
    function(inputs, seeded())
    assert torch.equal(inputs, before), "the data itself was changed"
    assert function(inputs[:0], seeded()).shape == inputs[:0].shape


@pytest.mark.parametrize("name", sorted(INPUTS.keys() - {"shift"}))
def test_an_example_depends_on_no_other(name):
    function, inputs = augment.AUGMENTATIONS[name], INPUTS[name]
    changed = torch.cat([inputs[:1], inputs[1:].flip(1, 2)])
    assert torch.equal(function(inputs, seeded())[0], function(changed, seeded())[0])


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_crop_and_flip_are_torchvisions(padding):
    images, sizes = random_images(1000), (2 * padding + 1, 2 * padding + 1, 2)
    generator = seeded(5)
    got = augment.random_flip(augment.random_crop(images, generator, padding), generator)
    generator = seeded(5)
    draws = torch.stack([torch.randint(size, (1000,), generator=generator) for size in sizes], 1).tolist()
    for image, out, (top, left, mirror) in zip(images, got, draws, strict=True):
        crop = tv.crop(tv.pad(image, [padding]), top, left, 6, 7)
        assert torch.equal(out, tv.horizontal_flip(crop) if mirror else crop)
    assert {tuple(draw) for draw in draws} == set(np.ndindex(sizes)), "not every offset is drawn"


def test_resized_crop_is_torchvisions():
    images = random_images(300, 24, 32).float()
    got = augment.random_resized_crop(images, seeded(3))
    crops = torch.stack(augment._crops(images, seeded(3), (0.08, 1.0), (3 / 4, 4 / 3)), 1).int().tolist()
    expected = torch.stack(
        [tv.resized_crop(x, *crop, [24, 32], antialias=True) for x, crop in zip(images, crops, strict=True)]
    )
    torch.testing.assert_close(got, expected, atol=2e-3, rtol=0)
    pixels = augment.random_resized_crop(images.byte(), seeded(3))
    assert torch.equal(pixels, got.round().byte())


def test_resized_crops_are_drawn_as_torchvision_draws_them():
    images = torch.zeros(4000, 1, 32, 32, dtype=torch.uint8)
    top, left, height, width = augment._crops(images, seeded(), (0.08, 1.0), (3 / 4, 4 / 3))
    assert ((top >= 0) & (top + height <= 32) & (left >= 0) & (left + width <= 32)).all()
    transform = v2.RandomResizedCrop(32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [transform.make_params([images[0]]) for _ in range(4000)]
    for mine, key in ((top, "top"), (left, "left"), (height, "height"), (width, "width")):
        other = torch.tensor([draw[key] for draw in theirs]).float()
        error = ((mine.var() + other.var()) / 4000).sqrt()
        assert abs(mine.mean() - other.mean()) < 4 * error
        assert mine.std() == pytest.approx(other.std().item(), rel=0.06)


def test_cutout_erases_one_square_as_torchvision_does():
    images = random_images(400, 32, 32)
    got, generator = augment.cutout(images, seeded(4), size=8), seeded(4)
    rows, columns = (torch.randint(32, (400,), generator=generator).tolist() for _ in range(2))
    for image, out, row, column in zip(images, got, rows, columns, strict=True):
        top, left, bottom, right = max(row - 4, 0), max(column - 4, 0), min(row + 4, 32), min(column + 4, 32)
        mean = image.float().mean((1, 2), keepdim=True).round().byte()
        assert torch.equal(out, tv.erase(image, top, left, bottom - top, right - left, mean))
    assert set(rows) == set(columns) == set(range(32))


def test_auto_augment_is_torchvisions_image_by_image(monkeypatch):
    images = random_images(256, 32, 32)
    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)  # its private names are for this comparison alone
    got = augment.auto_augment(images, seeded(6))
    steps = list(augment._operations(images, seeded(6)))
    alone = [image.clone() for image in images]
    for groups in steps:
        assert len([n for members in groups.values() for n in members]) == len({n for m in groups.values() for n in m})
        for (operation, magnitude), members in groups.items():
            for n in members:
                alone[n] = policy._apply_image_or_video_transform(
                    alone[n], operation, magnitude, policy.interpolation, {}
                )
    assert torch.equal(got, torch.stack(alone))
    assert sum(map(len, steps)) < 60


def test_auto_augment_s_tables_are_torchvisions():
    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    ours = [[(name, p, level) for name, p, level in pair] for pair in auto_augment.SUB_POLICIES]
    assert ours == [[(name, p, level or 0) for name, p, level in pair] for pair in policy._policies]
    for operation, (values, signed) in policy._AUGMENTATION_SPACE.items():
        found = values(10, 32, 48)
        for level, value in enumerate([0.0] * 10 if found is None else found.tolist()):
            assert auto_augment.magnitude(operation, level, True, 32, 48) == value
            assert auto_augment.magnitude(operation, level, False, 32, 48) == (-value if signed else value)


def test_auto_augment_draws_the_policy_of_the_paper():
    count = 20_000
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    for step, groups in enumerate(augment._operations(images, seeded())):
        drawn = {}
        for (operation, _), members in groups.items():
            drawn[operation] = drawn.get(operation, 0) + len(members)
        expected = dict.fromkeys(drawn, 0.0)
        for pair in policy._policies:
            operation, probability, _ = pair[step]
            expected[operation] = expected.get(operation, 0.0) + probability * count / len(policy._policies)
        for operation, number in expected.items():
            assert abs(drawn.get(operation, 0) - number) <= 4 * number**0.5 + 1e-9, operation
        for (operation, magnitude), members in groups.items():
            opposite = len(groups.get((operation, -magnitude), []))
            if policy._AUGMENTATION_SPACE[operation][1] and magnitude:
                assert abs(len(members) - opposite) < 4 * (len(members) + opposite) ** 0.5, "signs are not even"


def test_shift_moves_frames_and_repeats_the_edge():
    features = random_features(500)
    got = augment.random_shift(features, seeded(7), frames=3)
    by = torch.randint(7, (500,), generator=seeded(7)) - 3
    assert set(by.tolist()) == set(range(-3, 4))
    for example, out, shift in zip(features[:, 0], got[:, 0], by.tolist(), strict=True):
        padded = torch.cat([example[:1].expand(3, -1), example, example[-1:].expand(3, -1)])
        assert torch.equal(out, padded[3 - shift : 52 - shift])


def test_masks_are_spans_of_every_allowed_length_and_place():
    features = random_features(4000, dtype=torch.float64)  # no value is a mean by chance
    got = augment.random_mask(features, seeded(), frames=6, coefficients=2)
    mean = features.float().mean(2, keepdim=True).double().expand_as(features)
    changed = (got != features)[:, 0]
    assert torch.equal(got[changed[:, None]], mean[changed[:, None]])
    frames, coefficients = changed.all(2), changed.all(1)
    for mask, longest in ((frames, 6), (coefficients, 2)):
        length = mask.sum(1)
        starts = (mask.int().diff(dim=1, prepend=torch.zeros(4000, 1, dtype=torch.int)) == 1).sum(1)
        assert torch.equal(starts, (length > 0).long()), "a mask is in several pieces"
        share = length.bincount() / 4000
        assert share.tolist() == pytest.approx([1 / (longest + 1)] * (longest + 1), abs=0.03)
        assert mask.any(0).all(), "a place is never masked"
    assert torch.equal(changed, frames[:, :, None] | coefficients[:, None, :])


# ---- mixing two examples


def test_mixup_by_hand():
    images, labels = random_images(200), torch.arange(200)
    mixed, first, second, weight = augment.mix("mixup", images, labels, seeded(8))
    expected = weight[:, None, None, None] * images + (1 - weight[:, None, None, None]) * images.roll(1, 0)
    torch.testing.assert_close(mixed, expected, atol=1e-3, rtol=0)
    assert first.tolist() == labels.tolist()
    assert second[:3].tolist() == [199, 0, 1]
    assert len(weight.unique()) == 200


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_weights_are_of_the_beta_distribution(alpha):
    inputs = torch.zeros(20_000, 1, 1, 1)
    weight = augment.mix("mixup", inputs, torch.zeros(20_000), seeded(), alpha)[3]
    assert weight.mean().item() == pytest.approx(0.5, abs=0.015)
    assert weight.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_cutmix_pastes_a_box_of_the_example_before_and_weighs_what_is_left():
    images = torch.arange(1, 101, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
    mixed, first, second, weight = augment.mix("cutmix", images, torch.arange(100), seeded(9))
    assert mixed.dtype == torch.uint8
    for n in range(100):
        pasted = mixed[n] == (n or 100)
        assert ((mixed[n] == n + 1) | pasted).all()
        rows, columns = pasted[0].any(1), pasted[0].any(0)
        assert torch.equal(pasted, (rows[:, None] & columns).expand(3, -1, -1)), "not a box"
        assert weight[n].item() == pytest.approx(1 - pasted[0].float().mean().item())
    assert 0.2 < weight.mean() < 0.8
    assert (first.tolist()[:2], second.tolist()[:2]) == ([0, 1], [99, 0])


def test_cutmix_is_torchvisions(monkeypatch):
    images, labels = random_images(4, 32, 32), torch.arange(4)
    got, _, _, weight = augment.mix("cutmix", images, labels, seeded(10))
    generator = seeded(10)
    seed = int(torch.randint(2**62, (), generator=generator))
    ratios = np.random.default_rng(seed).beta(1, 1, 4)
    rows, columns = (torch.randint(32, (4,), generator=generator) for _ in range(2))
    for n, ratio in enumerate(ratios):
        cutmix = v2.CutMix(num_classes=4)
        cutmix._dist = type("Fixed", (), {"sample": lambda self, _, ratio=ratio: torch.tensor([ratio])})()
        places = iter([columns[n : n + 1], rows[n : n + 1]])
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *_, places=places, **__: next(places))
            mixed, mixed_labels = cutmix(images, labels)
        assert torch.equal(got[n], mixed[n])
        assert mixed_labels[n, n].item() == pytest.approx(weight[n].item(), abs=1e-6)


def test_nothing_mixed():
    images, labels = random_images(5), torch.arange(5)
    inputs, first, second, weight = augment.mix(None, images, labels, seeded())
    assert inputs is images
    assert first is second is labels
    assert weight.tolist() == [1] * 5


# ---- names and errors


def test_compose_takes_names_in_order():
    images, generator = random_images(20, 32, 32), seeded(1)
    expected = augment.cutout(augment.random_flip(images, generator), generator)
    assert torch.equal(augment.compose(["flip", "cutout"])(images, seeded(1)), expected)
    assert augment.compose([])(images, seeded()) is images


def test_errors_name_what_is_wrong():
    images, features, labels = random_images(4), random_features(4), torch.arange(4)
    resized = augment.random_resized_crop
    wrong = {
        r"augment='crops'; allowed: 'crop', 'flip', 'resize'.*: did you mean crop": lambda: augment.compose(["crops"]),
        "padding=-1; allowed": lambda: augment.random_crop(images, seeded(), padding=-1),
        "size=0; allowed": lambda: augment.cutout(images, seeded(), size=0),
        "frames=49; allowed: 0 to 48": lambda: augment.random_shift(features, seeded(), frames=49),
        "coefficients=11; allowed: 0 to 10": lambda: augment.random_mask(features, seeded(), coefficients=11),
        r"scale=\(0.5, 2\); allowed: 0 < low <= high <= 1": lambda: resized(images, seeded(), scale=(0.5, 2)),
        r"scale=\(-1, -0.5\); allowed": lambda: resized(images, seeded(), scale=(-1, -0.5)),
        r"ratio=\(0, 1\); allowed: 0 < low <= high$": lambda: resized(images, seeded(), ratio=(0, 1)),
        "alpha=nan; allowed": lambda: augment.mix("mixup", images, labels, seeded(), alpha=math.nan),
        r"float16.*allowed: torch.uint8 \[N, 3, H, W\]": lambda: augment.auto_augment(features, seeded()),
        "kind='blend'; allowed: 'mixup', 'cutmix', None": lambda: augment.mix("blend", images, labels, seeded()),
        "alpha=0; allowed": lambda: augment.mix("mixup", images, labels, seeded(), alpha=0),
        "3 labels; allowed: 4": lambda: augment.mix("mixup", images, labels[:3], seeded()),
    }
    for message, call in wrong.items():
        with pytest.raises(ValueError, match=message):
            call()
    for function in augment.AUGMENTATIONS.values():
        with pytest.raises(ValueError, match=r"\[3, 6, 7\]; allowed: \[N, C, H, W\]"):
            function(images[0], seeded())
