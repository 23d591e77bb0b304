"""Towers and projections: batch invariance, and agreement with the transformers library. Needs the train extra."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
transformers = pytest.importorskip("transformers", reason="transformers comes with the train extra")

from tests.fakes.sounds import voice
from tests.fakes.tiny import SMALL_SPEECH, SMALL_TEXT
from voxdex.encoders.errors import NetworkError
from voxdex.encoders.networks.factory import build_network
from voxdex.encoders.networks.frontend import HarmonicFrontEnd, MelFrontEnd, PitchTrack
from voxdex.encoders.networks.scraps import AcousticTower, PhonemeTower

CONVNEXT = {"kind": "convnext", "mel_bins": 32, "widths": (16, 24), "depths": (1, 1)}
TRANSFORMER = {"kind": "transformer", "vocabulary": 100, "hidden": 32, "layers": 1, "heads": 2, "features": 48}
RESIDUAL = {"kind": "residual", "dimension": 16}
SPEECH = {"wavlm": transformers.WavLMConfig, "hubert": transformers.HubertConfig, "wav2vec2": transformers.Wav2Vec2Config}
NORMS = {"layer": True, "group": False}


def speech_config(kind: str, norm: str) -> dict:
    return SPEECH[kind](**SMALL_SPEECH, feat_extract_norm=norm, do_stable_layer_norm=NORMS[norm]).to_dict()


def network(speech=CONVNEXT, text=TRANSFORMER, projection=RESIDUAL):
    torch.manual_seed(0)
    return build_network({"speech_tower": speech, "text_tower": text, "projection": projection}).eval()


def batch(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True), lengths


CLIPS = [voice(seconds, 100 + 40 * i, i) for i, seconds in enumerate((0.009, 0.025, 0.5, 1.234, 2.0))]
TOWERS = [CONVNEXT] + [
    {"kind": "pretrained", "config": speech_config(kind, norm), "layers": layers}
    for kind in SPEECH
    for norm in NORMS
    for layers in ("last", "weighted")
]


def name(tower: dict) -> str:
    config = tower.get("config")
    return f"{config['model_type']}-{config['feat_extract_norm']}-{tower['layers']}" if config else tower["kind"]


@pytest.mark.parametrize("tower", TOWERS, ids=name)
def test_speech_towers_do_not_depend_on_the_batch(tower):
    net = network(tower)
    waveform, lengths = batch(CLIPS)
    with torch.inference_mode():
        together = net.embed_speech(torch.nn.functional.pad(waveform, (0, 5000)), lengths)
        alone = torch.cat([net.embed_speech(*batch([clip])) for clip in CLIPS])
    assert (together * alone).sum(-1).min() > 0.999999
    assert together.norm(dim=-1) == pytest.approx(np.ones(len(CLIPS)), abs=1e-5)


@pytest.mark.parametrize("tower", TOWERS[1:], ids=name)
def test_pretrained_towers_agree_with_transformers(tower):
    net = network(tower)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    for clip in CLIPS[1:]:
        values = extractor(clip, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.inference_mode():
            out = net.speech_tower.model(values, output_hidden_states=True)
            states = out.last_hidden_state if tower["layers"] == "last" else torch.stack(out.hidden_states).mean(0)
            cosine = torch.cosine_similarity(states.mean(1), net.speech_tower(*batch([clip])))
        assert cosine.item() > 0.99999


def test_pooling_over_padding():
    tower = TOWERS[1] | {"pooling": "all"}
    net, waveform = network(tower), batch([CLIPS[3], CLIPS[4]])
    values = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)(
        [CLIPS[3], CLIPS[4]], sampling_rate=16_000, return_tensors="pt", padding=True
    )
    with torch.inference_mode():
        states = net.speech_tower.model(values.input_values, attention_mask=values.attention_mask).last_hidden_state
        found = net.speech_tower(*waveform)
    assert torch.cosine_similarity(states.mean(1), found).min() > 0.999


@pytest.mark.parametrize("kind", ["XLMRoberta", "Bert", "Roberta"])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_text_towers_agree_with_transformers(kind, pooling):
    config = getattr(transformers, f"{kind}Config")(**SMALL_TEXT, pad_token_id=1)
    net = network(text={"kind": "pretrained", "config": config.to_dict(), "pooling": pooling})
    ids = torch.randint(4, 100, (3, 12))
    mask = torch.ones_like(ids)
    mask[1, 5:], ids[1, 5:] = 0, 1
    with torch.inference_mode():
        states = net.text_tower.model(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = states[:, 0] if pooling == "first" else (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        assert torch.allclose(net.text_tower(ids, mask), expected, atol=1e-6)
        assert torch.allclose(net.text_tower(ids[1:2, :5], mask[1:2, :5]), expected[1:2], atol=1e-5)


def test_captions_do_not_depend_on_padding():
    net = network()
    ids = torch.tensor([[2, 7, 9, 0, 0], [2, 8, 11, 12, 13]])
    mask = (ids > 0).long()
    with torch.inference_mode():
        assert torch.allclose(net.embed_text(ids, mask)[0], net.embed_text(ids[:1, :3], mask[:1, :3])[0], atol=1e-6)


def test_mel_front_end_agrees_with_a_fourier_transform():
    mel = MelFrontEnd(bins=40)
    waveform = torch.from_numpy(voice(0.7, 150))[None]
    power, frames = mel(waveform, torch.tensor([waveform.shape[1]]))
    window = torch.hann_window(512) / 512**0.5
    spectrum = torch.stft(waveform, 512, 160, window=window, center=True, pad_mode="constant", return_complex=True)
    expected = spectrum.abs().square().transpose(1, 2) @ mel.filters
    assert power.shape == (1, int(frames), 40)
    assert torch.allclose(power, expected, rtol=1e-3, atol=1e-6)


def test_pitch_track():
    front_end, track = HarmonicFrontEnd(), PitchTrack()
    for f0 in (85, 140, 220, 330):
        spectrum = front_end(torch.from_numpy(voice(0.7, f0))[None])
        octaves, voiced = track((spectrum / spectrum.mean() + 1e-4).log())
        middle = slice(20, 50)
        assert (60 * 2 ** octaves[0, middle].median()).item() == pytest.approx(f0, rel=0.04)
        assert voiced[0, middle].min() > 0.5
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    spectrum = front_end(noise)
    assert track((spectrum / spectrum.mean() + 1e-4).log())[1].mean() < 0.3


def test_silence_around_speech_changes_little():
    tower = network().speech_tower.eval()
    speech = torch.from_numpy(voice(1.5, 150))[None]
    silence = torch.zeros(1, 24_000)
    with torch.inference_mode():
        alone = tower(speech, torch.tensor([speech.shape[1]]))
        among = tower(torch.cat([silence, speech, silence], dim=1), torch.tensor([speech.shape[1] + 48_000]))
    assert torch.nn.functional.cosine_similarity(alone, among).item() > 0.99


@pytest.mark.parametrize(
    "parts", [{}, {"text": {"kind": "pretrained", "config": transformers.BertConfig(**SMALL_TEXT).to_dict()}}]
)
def test_gradient_checkpointing_gives_the_same_gradients(parts):
    gradients = []
    for again in (False, True):
        net = network(TOWERS[1] if parts else CONVNEXT, **parts).train()
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        net.speech_tower.drop_path = 0.0
        if again:
            net.speech_tower.checkpoint_activations()
            net.text_tower.checkpoint_activations()
        torch.manual_seed(1)
        speech = net.embed_speech(*batch(CLIPS[2:]))
        text = net.embed_text(torch.full((3, 4), 5), torch.ones(3, 4, dtype=torch.int64))
        (speech * text).sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speech_tower": CONVNEXT | {"kind": "resnet"}}, "speech_tower.kind is"),
        ({"speech_tower": CONVNEXT | {"width": 3}}, "speech tower cannot be built as described"),
        ({"speech_tower": {"kind": "pretrained", "config": {"model_type": "bert"}}}, "not 'bert'"),
        ({"speech_tower": {"kind": "pretrained", "config": {"model_type": "nonsense"}}}, "no model of type 'nonsense'"),
        ({"speech_tower": TOWERS[1] | {"layers": "first"}}, "layers of a speech tower is 'last' or 'weighted'"),
        ({"text_tower": TRANSFORMER | {"hidden": 30, "heads": 4}}, "divisible"),
        (
            {"text_tower": {"kind": "pretrained", "config": transformers.BertConfig(**SMALL_TEXT).to_dict(), "pooling": "max"}},
            "'max'",
        ),
        ({"projection": {"kind": "cubic"}}, "projection.kind is 'residual' or 'relu'"),
    ],
)
def test_invalid_configurations(change, words):
    with pytest.raises(NetworkError, match=words):
        build_network({"speech_tower": CONVNEXT, "text_tower": TRANSFORMER, "projection": RESIDUAL} | change)


def test_phonetic_towers_ignore_padding():
    torch.manual_seed(0)
    tower = AcousticTower(10, mel_bins=32, widths=(16, 24), depths=(1, 1), kernels=(5, 5), features=8, places=6).eval()
    clip = torch.from_numpy(voice(1.3, 120))[None]
    padded = torch.cat([clip, torch.zeros(1, 9000)], dim=1)
    lengths = torch.tensor([clip.shape[1]])
    with torch.inference_mode():
        assert torch.allclose(tower(clip, lengths), tower(padded, lengths), atol=1e-4)
        phonemes = PhonemeTower(10, hidden=16, layers=1, heads=2, features=8, places=6).eval()
        ids, mask = torch.tensor([[3, 4, 5]]), torch.ones(1, 3, dtype=torch.int64)
        longer = phonemes(torch.tensor([[3, 4, 5, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]]))
        assert torch.allclose(phonemes(ids, mask), longer, atol=1e-5)
        assert not torch.allclose(phonemes(ids, mask), phonemes(ids.flip(1), mask), atol=1e-2)
