"""Towers on the encoder of Whisper: sources of weights, agreement with transformers, training and export."""

import re
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
transformers = pytest.importorskip("transformers", reason="transformers comes with the train extra")

from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from tests.fakes.sounds import voice
from tests.fakes.tiny import RECIPE, make_material
from voxdex.encoders.errors import NetworkError, SourceError
from voxdex.encoders.model import open_model
from voxdex.encoders.networks.whisper_tower import SILENCE_AFTER, WhisperSpeechTower
from voxdex.encoders.training.caption_trainer import CaptionTrainer
from voxdex.encoders.training.data.dataset import load_clips
from voxdex.encoders.training.distributed import ProcessGroup
from voxdex.encoders.training.initial import load_initial, whisper_encoder
from voxdex.encoders.training.recipe import load_recipe
from voxdex.encoders.training.train import load_checkpoint, save_checkpoint

SHAPE = {"mel_bins": 20, "width": 24, "heads": 2}
CONFIG = transformers.WhisperConfig(
    d_model=24, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=96, num_mel_bins=20, decoder_layers=1,
    decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=50, max_target_positions=20, pad_token_id=0, bos_token_id=1,
    eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
)  # fmt: skip
WHISPER = {"kind": "whisper", **SHAPE, "layers": [1, 2], "functionals": 16}


@pytest.fixture(scope="module")
def whisper():
    """A small Whisper model with random weights that are exact in half precision."""
    torch.manual_seed(0)
    model = transformers.WhisperModel(CONFIG).eval()
    for parameter in model.parameters():
        if parameter is not model.encoder.embed_positions.weight:
            parameter.data = (parameter.data + 0.05 * torch.randn_like(parameter)).half().float()
    return model


@pytest.fixture(scope="module")
def folder(whisper, tmp_path_factory):
    """The model in the format of the transformers library."""
    place = tmp_path_factory.mktemp("whisper")
    whisper.save_pretrained(place)
    return place


def variables(whisper) -> dict[str, np.ndarray]:
    """Variables of the encoder, named and stacked like those of CTranslate2's converter."""
    state = {name: value.detach().numpy() for name, value in whisper.encoder.state_dict().items()}
    found = {f"encoder/{conv}/{part}": state[f"{conv}.{part}"] for conv in ("conv1", "conv2") for part in ("weight", "bias")}
    found["encoder/position_encodings/encodings"] = state["embed_positions.weight"]
    found["encoder/num_heads"] = np.array(2, dtype=np.int16)
    for part, kind in (("gamma", "weight"), ("beta", "bias")):
        found[f"encoder/layer_norm/{part}"] = state[f"layer_norm.{kind}"]
        for i in range(CONFIG.encoder_layers):
            there, here = f"layers.{i}", f"encoder/layer_{i}"
            found[f"{here}/self_attention/layer_norm/{part}"] = state[f"{there}.self_attn_layer_norm.{kind}"]
            found[f"{here}/ffn/layer_norm/{part}"] = state[f"{there}.final_layer_norm.{kind}"]
    for part in ("weight", "bias"):
        for i in range(CONFIG.encoder_layers):
            there, here = f"layers.{i}", f"encoder/layer_{i}"
            query, value = (state[f"{there}.self_attn.{side}_proj.{part}"] for side in "qv")
            key = state[f"{there}.self_attn.k_proj.weight"] if part == "weight" else np.zeros_like(query)
            found[f"{here}/self_attention/linear_0/{part}"] = np.concatenate([query, key, value])
            found[f"{here}/self_attention/linear_1/{part}"] = state[f"{there}.self_attn.out_proj.{part}"]
            found[f"{here}/ffn/linear_0/{part}"] = state[f"{there}.fc1.{part}"]
            found[f"{here}/ffn/linear_1/{part}"] = state[f"{there}.fc2.{part}"]
    found["decoder/num_heads"] = np.array(2, dtype=np.int16)
    found["decoder/embeddings/weight"] = np.arange(12, dtype=np.int8).reshape(3, 4)
    return found


TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def write_ctranslate2(path, values: dict[str, np.ndarray], half: bool, kind: str = "WhisperSpec", version: int = 6) -> None:
    """Write a file in CTranslate2's format, with its aliases at the end."""

    def text(said: str) -> bytes:
        return struct.pack("<H", len(said) + 1) + said.encode() + b"\0"

    parts = [struct.pack("<I", version), text(kind), struct.pack("<II", 3, len(values))]
    for name, value in values.items():
        kept = value.astype(np.float16) if half and value.dtype.kind == "f" else value
        parts += [text(name), struct.pack(f"<B{kept.ndim}I", kept.ndim, *kept.shape)]
        parts += [struct.pack("<BI", TYPES[kept.dtype.name], kept.nbytes), kept.tobytes()]
    parts += [struct.pack("<I", 1), text("decoder/projection/weight"), text("decoder/embeddings/weight")]
    path.write_bytes(b"".join(parts))


def tower(source=None, **options) -> WhisperSpeechTower:
    """A tower with random weights beside those of the source."""
    torch.manual_seed(1)
    made = WhisperSpeechTower(**SHAPE | {"functionals": 16} | options).eval()
    if source:
        weights = whisper_encoder(str(source))[1]
        made.encoder.load_state_dict({name: weights[name] for name in made.encoder.state_dict()})
    return made


def batch(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True), lengths


CLIPS = [voice(seconds, 100 + 40 * i, i) for i, seconds in enumerate((0.009, 0.025, 0.5, 1.234, 2.0))]


@pytest.mark.parametrize("half", [True, False])
def test_ctranslate2_and_transformers_weights_are_equal(whisper, folder, tmp_path, half):
    write_ctranslate2(tmp_path / "model.bin", variables(whisper), half)
    found = [whisper_encoder(str(source)) for source in (folder, tmp_path, tmp_path / "model.bin")]
    for shape, weights in found:
        assert shape == {**SHAPE, "blocks": 3}
        assert weights.keys() == found[0][1].keys()
        assert all(torch.equal(weights[name], found[0][1][name]) for name in weights)
    towers = [tower(source, layers=(1, 3))(*batch(CLIPS)) for source in (folder, tmp_path)]
    assert torch.equal(*towers)


def test_weights_from_an_installed_package(whisper, tmp_path, monkeypatch):
    inside = tmp_path / "some_whisper_models"
    (inside / "model").mkdir(parents=True)
    (inside / "__init__.py").touch()
    write_ctranslate2(inside / "model" / "model.bin", variables(whisper), half=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert whisper_encoder("some-whisper-models")[0]["blocks"] == 3


def test_tower_agrees_with_transformers(whisper, folder):
    """Compare mel bands and all hidden states of a clip padded to Whisper's length."""
    ours = tower(folder, layers=(0, 1, 2, 3), level="absolute")
    clip = voice(3.0, 140)
    extractor = transformers.WhisperFeatureExtractor(feature_size=20)
    features = extractor(clip, sampling_rate=16_000, return_tensors="pt").input_features
    theirs = TheirEncoder(CONFIG).eval()
    theirs.load_state_dict(whisper.encoder.state_dict())
    seconds_30 = torch.nn.functional.pad(torch.from_numpy(clip), (0, 480_000 - SILENCE_AFTER - len(clip)))[None]
    inputs = []
    ours.encoder.conv1.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.inference_mode():
        expected = theirs(features, output_hidden_states=True)
        _, states, valid = ours.listen(seconds_30, torch.tensor([seconds_30.shape[1]]))
        last = whisper.encoder.layer_norm(states[-1])
    assert valid.sum() == 1500
    assert torch.allclose(inputs[0], features, atol=1e-4)
    for found, state in zip([*states[:3], last], expected.hidden_states, strict=True):
        assert torch.allclose(found, state, atol=2e-4)


@pytest.mark.parametrize("level", ["relative", "absolute"])
def test_tower_does_not_depend_on_the_batch(folder, level):
    ours = tower(folder, level=level)
    waveform, lengths = batch(CLIPS)
    with torch.inference_mode():
        together = ours(torch.nn.functional.pad(waveform, (0, 7001)), lengths)
        alone = torch.cat([ours(*batch([clip])) for clip in CLIPS])
        silent = ours(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert torch.cosine_similarity(together, alone).min() > 0.999999
    assert silent.isfinite().all()


def test_level_option(folder):
    waveform, lengths = batch(CLIPS[2:])
    with torch.inference_mode():
        for level, same in (("relative", True), ("absolute", False)):
            ours = tower(folder, level=level)
            loud, quiet = ours(waveform, lengths), ours(0.1 * waveform, lengths)
            assert (torch.cosine_similarity(loud, quiet).min() > 0.9999) == same


@pytest.mark.parametrize(
    ("frozen", "trained"),
    [(-1, {"conv1", "conv2", "blocks.0", "blocks.1"}), (0, {"blocks.0", "blocks.1"}), (1, {"blocks.1"}), (2, set())],
)
def test_frozen_layers_have_no_gradients(frozen, trained):
    ours = tower(layers=(1, 2), frozen=frozen).train()
    ours(*batch(CLIPS)).square().sum().backward()
    moved = {name for name, value in ours.encoder.named_parameters() if value.grad is not None}
    assert {re.match(r"conv\d|blocks\.\d", name)[0] for name in moved} == trained
    assert ours.layer_weights.grad is not None


def test_unused_blocks_are_removed():
    assert len(tower(layers=(0, 2)).encoder.blocks) == 2 and len(tower(layers=(0,)).encoder.blocks) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": []}, "different numbers"),
        ({"layers": [1, 1]}, "different numbers"),
        ({"layers": [1, -1]}, "different numbers"),
        ({"layers": [1], "frozen": 2}, "between -1 and its highest layer, 1, not 2"),
        ({"level": "quiet"}, "'relative' or 'absolute', not 'quiet'"),
    ],
)
def test_invalid_options(options, words):
    with pytest.raises(NetworkError, match=words):
        tower(**options)


def broken(values, name, value):
    return {key: (value if key == name else kept) for key, kept in values.items() if key != name or value is not None}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path, values: path.write_bytes(b"not a model"), "cannot be read as a CTranslate2 model"),
        (lambda path, values: path.write_bytes(path.read_bytes()[:3000]), "cannot be read as a CTranslate2 model"),
        (lambda path, values: write_ctranslate2(path, values, True, version=7), "version 7, not 6"),
        (
            lambda path, values: write_ctranslate2(path, values, True, kind="TransformerSpec"),
            "'TransformerSpec', not WhisperSpec",
        ),
        (
            lambda path, values: write_ctranslate2(
                path, broken(values, "encoder/conv1/weight", np.zeros((24, 20, 3), dtype=np.int8)), True
            ),
            "conv1/weight in int8",
        ),
        (
            lambda path, values: write_ctranslate2(path, broken(values, "encoder/layer_1/ffn/linear_0/bias", None), True),
            "has no encoder/layer_1/ffn/linear_0/bias",
        ),
        (
            lambda path, values: write_ctranslate2(
                path, broken(values, "encoder/position_encodings/encodings", np.ones((1500, 24), dtype=np.float32)), True
            ),
            "other positions",
        ),
    ],
)
def test_invalid_files(whisper, tmp_path, damage, words):
    path = tmp_path / "model.bin"
    values = variables(whisper)
    write_ctranslate2(path, values, half=True)
    damage(path, values)
    with pytest.raises(SourceError, match=words):
        whisper_encoder(str(path))


@pytest.fixture(scope="module")
def material(whisper, tmp_path_factory):
    """Training sounds, a small Whisper in CTranslate2's format, and whisper.toml."""
    place = make_material(tmp_path_factory.mktemp("material"))
    write_ctranslate2(place / "model.bin", variables(whisper), half=True)
    before, after = RECIPE.format(folder=place).split("[text_tower]")
    assert "convnext" in before
    section = f'[speech_tower]\nkind = "whisper"\nsource = "{place}/model.bin"\nlayers = [1, 2]\nfrozen = 1\nfunctionals = 16\n'
    (place / "whisper.toml").write_text(f"{section}\n[text_tower]{after}")
    return place


def test_recipe_starts_from_the_encoder_of_its_source(material):
    found = load_initial(load_recipe(str(material / "whisper.toml")), [])
    assert found.architecture["speech_tower"] == {
        "kind": "whisper", "layers": [1, 2], "frozen": 1, "functionals": 16, **SHAPE
    }  # fmt: skip
    weights = whisper_encoder(str(material / "model.bin"))[1]
    encoder = found.network.speech_tower.encoder.state_dict()
    assert len(encoder) == 4 + 2 * 12 and all(torch.equal(value, weights[name]) for name, value in encoder.items())


@pytest.fixture(scope="module")
def begin_training(material, tmp_path_factory):
    """Create trainers of four steps, of which the last two train the encoder."""
    said = ("schedule.steps=4", "schedule.encoder_start=0.5", "schedule.encoder_rate=0.1", "schedule.one_cycle=false")
    recipe = load_recipe(str(material / "whisper.toml"), (*said, "schedule.warmup=0", "speech_tower.frozen=-1"))
    clips, _ = load_clips([material / "labels.csv"], tmp_path_factory.mktemp("sound"))

    def trainer() -> CaptionTrainer:
        torch.manual_seed(5)
        return CaptionTrainer(recipe, load_initial(recipe, clips.rows), clips, ProcessGroup(0, 1, torch.device("cpu")))

    return trainer


def test_start_and_rate_of_encoder_training(begin_training):
    trainer = begin_training()
    encoder = trainer.network.speech_tower.encoder
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    for step in range(4):
        trainer.step()
        changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, start[name])}
        assert len(changed) == (0 if step < 2 else len(start))
    groups = [
        group for group in trainer.optimizer.param_groups if any(each is encoder.conv1.weight for each in group["params"])
    ]
    assert [group["lr"] for group in groups] == pytest.approx([0.1 * trainer.schedule.learning_rate])


@pytest.mark.parametrize("stopped", [1, 3])
def test_resuming_before_and_after_the_start_of_encoder_training(begin_training, tmp_path, stopped):
    whole, first, second = begin_training(), begin_training(), begin_training()
    for _ in range(4):
        whole.step()
    for _ in range(stopped):
        first.step()
    save_checkpoint(first, tmp_path, {})
    assert load_checkpoint(second, tmp_path) == {}
    for _ in range(4 - stopped):
        second.step()
    found = second.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole.network.state_dict().items())


def test_too_many_layers(material):
    with pytest.raises(SourceError, match=r"has no blocks\.3"):
        load_initial(load_recipe(str(material / "whisper.toml"), ("speech_tower.layers=[4]",)), [])


def test_export_agrees_with_torch(voxdex, material, tmp_path):
    out = tmp_path / "run"
    said = ("--set", "schedule.steps=12", "--set", "schedule.validate_every=12", "--device", "cpu")
    done = voxdex("train", material / "whisper.toml", material / "labels.csv", "--out", out, *said, "--json")
    assert done.status == 0, done.err
    assert min(done.json["parity"][f"{name}_worst"] for name in ("speech", "text", "batched")) >= 0.99999
    model = open_model(out / "model")
    assert "Whisper" in model.card.normalisation
    weights = whisper_encoder(str(material / "model.bin"))[1]
    kept = load_initial(load_recipe(str(material / "whisper.toml"), (f'init_from="{out}"',)), []).network.speech_tower.encoder
    assert torch.equal(kept.conv1.weight, weights["conv1.weight"])
    assert not torch.equal(kept.blocks[1].qkv.weight, weights["blocks.1.qkv.weight"])
