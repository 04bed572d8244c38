"""Encoders of frames; the pre-trained ones are tiny models made here, saved and loaded as a user's would be."""

import json
import sys

import pytest
import torch

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.rewards.video_encoders import IMAGENET_MEAN, IMAGENET_STD, Frozen, Pretrained, SmallCNN, load_backbone

SIZE = 28


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=3, height=SIZE, width=SIZE, seed=0):
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=rng(seed))


def tiny_resnet(head=False):
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    torch.manual_seed(0)  # transformers draws its weights from the global generator
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    return (ResNetForImageClassification if head else ResNetModel)(config).eval()


def tiny_dinov2():
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=SIZE, patch_size=14)
    return Dinov2Model(config).eval()


@pytest.fixture(scope="module", params=["resnet", "dinov2"])
def saved(request, tmp_path_factory):
    """A model and the folder it was saved in."""
    pytest.importorskip("transformers", reason="transformers is not installed; get it with: pip install 'pbrl[vision]'")
    model = tiny_resnet() if request.param == "resnet" else tiny_dinov2()
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture
def resnet_folder(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed; get it with: pip install 'pbrl[vision]'")
    tiny_resnet().save_pretrained(tmp_path)
    return tmp_path


def make_pretrained(folder, size=SIZE, dim=None, shape=(SIZE, SIZE, 3), seed=0):
    return Pretrained(folder=folder, size=size, shape=shape, dim=dim, rng=rng(seed))


def make_small(shape=(16, 16, 3), dim=5, seed=0):
    return SmallCNN(shape=shape, dim=dim, rng=rng(seed), strides=(2, 1, 1, 1))


def test_the_small_encoder_gives_d_numbers_and_all_of_it_learns():
    encoder = make_small(shape=(20, 16, 3), dim=7)
    embeddings = encoder(pictures(2, 20, 16))
    assert embeddings.shape == (2, 7)
    embeddings.sum().backward()
    assert encoder.trained.keys() == dict(encoder.named_parameters()).keys()
    assert all(p.grad is not None for p in encoder.trained.values())


def test_the_same_seed_makes_the_same_encoder():
    outputs = [make_small(seed=seed)(pictures(2, 16, 16)) for seed in (1, 1, 2)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_the_small_encoder_sees_what_differs_from_the_mean_of_what_it_observed():
    frames, added = pictures(6, 16, 16), torch.randint(0, 100, (16, 16, 3))
    encoders = [make_small() for _ in range(2)]
    encoders[0].observe(frames.float().view(2, 3, 16, 16, 3))
    encoders[1].observe(frames.float() + added)
    torch.testing.assert_close(encoders[0](frames.float()), encoders[1](frames.float() + added))
    assert "mean" in encoders[0].state_dict()  # a saved reward goes on with it


@pytest.mark.parametrize("strides", [[], [0, 1], [-1, 2], [2.5], ["a"]])
def test_strides_that_make_no_sense(strides):
    with pytest.raises(ValueError, match="expected whole numbers of at least 1, one for each convolution"):
        SmallCNN(shape=(16, 16, 3), dim=5, rng=rng(), strides=strides)


def test_a_shift_moves_all_frames_of_a_clip_alike_over_a_background_that_stays():
    background = torch.randint(50, 200, (12, 12, 1), generator=rng())
    clips = background.repeat(8, 2, 1, 1, 1)
    clips[:, 0, 6, 6], clips[:, 1, 5, 7] = 0, 255
    encoder = SmallCNN(shape=(12, 12, 1), dim=None, rng=rng(), strides=(2,), shift=3)
    encoder.mean.copy_(background)
    differs = encoder.augment(clips) - background
    found = [[frame.nonzero() for frame in clip] for clip in differs]
    assert all(len(pixels) == 1 for clip in found for pixels in clip)
    moves = torch.stack([torch.stack([a[0, :2] - 6, b[0, :2] - torch.tensor([5, 7])]) for a, b in found])
    assert torch.equal(moves[:, 0], moves[:, 1])
    assert moves.abs().max() <= 3
    assert len(moves[:, 0].unique(dim=0)) > 4  # of eight clips


def test_no_shift_leaves_clips_as_they_are():
    clips = pictures(6, 16, 16).view(2, 3, 16, 16, 3)
    encoder = SmallCNN(shape=(16, 16, 3), dim=None, rng=rng(), strides=(2,), shift=0)
    encoder.observe(clips)
    torch.testing.assert_close(encoder.augment(clips), clips.float())


@pytest.mark.parametrize("shift", [-1, 0.5, "a", 16])
def test_shifts_that_make_no_sense(shift):
    with pytest.raises(UserError, match=f"shift={shift}: expected a whole number of pixels below the 16 of a frame"):
        SmallCNN(shape=(16, 16, 3), dim=5, rng=rng(), shift=shift)


def test_a_pretrained_encoder_is_chosen_on_the_command_line(resnet_folder):
    encoder = "method.model.encoder"
    chosen = [f"{encoder}._target_=pbrl.rewards.video_encoders.Pretrained", f"+{encoder}.folder={resnet_folder}"]
    config = compose_config(["method=rapl", *chosen, f"+{encoder}.size=112", "method.model.frames_per_video=null"])
    model = build(config.method.model)(frame_shape=(64, 64, 3), rng=rng())
    assert isinstance(model.encoder, Pretrained)


def test_without_a_linear_layer_it_gives_the_features():
    encoder = make_small(dim=None)
    assert encoder.dim == 50
    torch.testing.assert_close(encoder(pictures(2, 16, 16)), encoder.backbone(pictures(2, 16, 16)))


@torch.no_grad()
def test_a_loaded_model_gives_the_features_of_the_saved_one(saved):
    model, folder = saved
    images = pictures().movedim(-1, 1) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = model((images - mean) / std).pooler_output.flatten(1)
    encoder = make_pretrained(folder)
    assert encoder.dim == expected.shape[1]
    torch.testing.assert_close(encoder(pictures()), expected)


def test_only_the_linear_layer_of_a_loaded_model_learns(saved):
    encoder = make_pretrained(saved[1], dim=5).train()
    before = {name: value.clone() for name, value in encoder.backbone.state_dict().items()}
    encoder(pictures()).sum().backward()
    assert set(encoder.trained) == {"head.weight", "head.bias"}
    assert not encoder.backbone.training
    for name, value in encoder.backbone.state_dict().items():  # batch statistics included
        assert torch.equal(value, before[name]), name


def test_frames_of_any_size_are_resized(saved):
    grey = torch.full((2, 40, 64, 3), 93, dtype=torch.uint8)
    resized = make_pretrained(saved[1], shape=(40, 64, 3))(grey)
    torch.testing.assert_close(resized, make_pretrained(saved[1])(grey[:, :SIZE, :SIZE]))


def test_many_frames_are_a_block_at_a_time(saved):
    encoder, frames = make_pretrained(saved[1]), pictures(130)
    torch.testing.assert_close(encoder(frames)[[0, 64, 129]], encoder(frames[[0, 64, 129]]))


@torch.no_grad()
def test_statistics_of_the_folder_are_used(resnet_folder):
    told = {"image_mean": [0.5, 0.25, 0.0], "image_std": [0.1, 0.2, 0.3]}
    (resnet_folder / "preprocessor_config.json").write_text(json.dumps(told))
    encoder = make_pretrained(resnet_folder)
    images = (pictures().movedim(-1, 1) / 255 - encoder.mean) / encoder.std
    assert encoder.std.flatten().tolist() == pytest.approx(told["image_std"])
    torch.testing.assert_close(encoder(pictures()), encoder.backbone(images).pooler_output.flatten(1))


def test_a_classifier_on_top_is_left_out_quietly(tmp_path, capfd):
    pytest.importorskip("transformers", reason="transformers is not installed; get it with: pip install 'pbrl[vision]'")
    classifier = tiny_resnet(head=True)
    classifier.save_pretrained(tmp_path)
    capfd.readouterr()
    backbone = load_backbone(tmp_path)
    assert capfd.readouterr().err == ""
    for name, value in classifier.resnet.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name


@pytest.mark.parametrize(("size", "good"), [(14, True), (42, True), (30, False), (0, False)])
def test_dinov2_wants_whole_patches(tmp_path, size, good):
    pytest.importorskip("transformers", reason="transformers is not installed; get it with: pip install 'pbrl[vision]'")
    tiny_dinov2().save_pretrained(tmp_path)
    if good:
        assert make_pretrained(tmp_path, size=size)(pictures()).isfinite().all()
    else:
        with pytest.raises(UserError, match=f"encoder.size={size}: expected a multiple .* 14 pixels"):
            make_pretrained(tmp_path, size=size)


def test_without_transformers_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install .*\[vision\]'"):
        load_backbone(tmp_path)


class Brightness(torch.nn.Module):
    """Pictures (M, 3, h, w) -> maps (M, 3, h, w): themselves, or twice themselves."""

    def forward(self, images):
        return images

    def doubled(self, images):
        return 2 * images

    def both(self, images):
        return images, images


def make_frozen(shape=(4, 4, 3), **options):
    options = {"mean": (0, 0, 0), "std": (0.5, 0.5, 0.5)} | options
    return Frozen(backbone=Brightness(), size=4, shape=shape, dim=None, rng=rng(), **options)


@pytest.mark.parametrize(("call", "factor"), [("forward", 2), ("doubled", 4)])
def test_maps_of_any_torch_module_are_averaged_over_the_picture(call, factor):
    frames = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).repeat(3, 4, 1).movedim(0, -1)[None]  # mean: 0.4
    torch.testing.assert_close(make_frozen(call=call)(frames), torch.full((1, 3), factor * 0.4), atol=1e-6, rtol=0)


def test_a_backbone_stays_as_it_is():
    encoder = Frozen(backbone=torch.nn.BatchNorm2d(3), size=2, shape=(4, 4, 3), dim=2, rng=rng())
    encoder.train()
    assert encoder.trained.keys() == {"head.weight", "head.bias"}
    assert not encoder.backbone.training


def test_a_method_that_the_backbone_lacks_is_refused():
    with pytest.raises(UserError, match=r"encoder\.call=features: Brightness has no such method"):
        make_frozen(call="features")


def test_a_backbone_that_gives_no_features_is_refused():
    with pytest.raises(UserError, match=r"encoder\.backbone gives tuple, expected features \(M, n\) or maps"):
        make_frozen(call="both")


def test_frames_must_have_three_colours():
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\)"):
        make_frozen(shape=(4, 4, 1))


def remove_config(folder):
    (folder / "config.json").unlink()


def break_config(folder):
    (folder / "config.json").write_text("{")


def another_model(folder):
    (folder / "config.json").write_text('{"model_type": "bert"}')


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def pickle_weights(folder):
    (folder / "model.safetensors").unlink()
    torch.save(tiny_resnet().state_dict(), folder / "pytorch_model.bin")


def break_weights(folder):
    (folder / "model.safetensors").write_bytes(b"nonsense")


def lose_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if k != min(weights)}, folder / "model.safetensors", {"format": "pt"})


def break_statistics(folder):
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5]}')


def zero_statistics(folder):
    (folder / "preprocessor_config.json").write_text('{"image_std": [0.5, 0, 0.5]}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_config, r"config.json is missing; expected the folder of a model"),
        (break_config, r"config.json is damaged or not JSON"),
        (another_model, r"model_type 'bert'; valid are dinov2, resnet"),
        (remove_weights, r"cannot be read as a resnet with model.safetensors"),
        (pickle_weights, r"cannot be read as a resnet with model.safetensors"),
        (break_weights, r"cannot be read as a resnet with model.safetensors"),
        (lose_a_weight, r"lacks 1 weights, such as embedder"),
        (break_statistics, r"image_mean is \[0.5, 0.5\], expected three numbers"),
        (zero_statistics, r"image_std is \[0.5, 0, 0.5\], expected three numbers above 0"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(resnet_folder, damage, message):
    damage(resnet_folder)
    with pytest.raises(UserError, match=message) as raised:
        make_pretrained(resnet_folder)
    assert "\n" not in str(raised.value)


def test_a_wider_encoder_has_as_many_channels_and_takes_larger_frames():
    encoder = SmallCNN(shape=(112, 112, 3), dim=5, rng=rng(), width=48)
    assert [c.out_channels for c in encoder.backbone.convolutions] == [48] * 4
    assert encoder(pictures(2, 112, 112)).shape == (2, 5)


def test_of_an_encoder_that_has_settled_only_the_head_learns():
    encoder = SmallCNN(shape=(16, 16, 3), dim=5, rng=rng(), strides=(2, 1, 1, 1), head_only=True)
    everything = encoder.trained.keys()
    encoder.settle()
    assert encoder.trained.keys() == {"head.weight", "head.bias"}
    encoder.observe(pictures(2, 16, 16).view(1, 2, 16, 16, 3))  # a fit from the beginning
    assert encoder.trained.keys() == everything
    with pytest.raises(UserError, match="leaves nothing to learn"):
        SmallCNN(shape=(16, 16, 3), dim=None, rng=rng(), head_only=True)
