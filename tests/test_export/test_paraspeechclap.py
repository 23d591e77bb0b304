"""Checkpoints in the published ParaSpeechCLAP layout, with small random towers of the real classes. Needs the train extra."""

import json
import math
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
transformers = pytest.importorskip("transformers", reason="transformers comes with the train extra")
onnx = pytest.importorskip("onnx", reason="onnx comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.fakes.sounds import voice
from tests.fakes.tiny import SMALL_SPEECH, SMALL_TEXT
from voxdex.encoders.model import open_model

CAPTIONS = ["a sad woman", "a deep raspy voice whispers", "calm"]


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Folders in the layout of the hub: WavLM (configuration, feature extractor) and XLM-RoBERTa (configuration, tokenizer)."""
    folder = tmp_path_factory.mktemp("towers")
    config = SMALL_SPEECH | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_hidden_layers": 2}
    speech, text = (
        transformers.WavLMConfig(**config),
        transformers.XLMRobertaConfig(**SMALL_TEXT, max_position_embeddings=40, pad_token_id=1),
    )
    torch.manual_seed(5)
    transformers.WavLMModel(speech).save_pretrained(folder / "speech")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / "speech")
    transformers.XLMRobertaModel(text).save_pretrained(folder / "text")
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {word: 4 + i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=38, **special).save_pretrained(
        folder / "text"
    )
    return folder


@pytest.fixture(scope="module")
def state(towers):
    """A state dict with the published keys."""
    torch.manual_seed(0)
    speech = transformers.WavLMModel(transformers.WavLMConfig.from_pretrained(towers / "speech"))
    text = transformers.XLMRobertaModel(transformers.XLMRobertaConfig.from_pretrained(towers / "text"))
    keys = {f"audio_branch.base.{key}": value for key, value in speech.state_dict().items()}
    keys |= {f"text_branch.base.{key}": value for key, value in text.state_dict().items()}
    for side, width in (("audio", 48), ("text", 32)):
        keys[f"{side}_projection.linear1.weight"] = torch.randn(24, width)
        keys[f"{side}_projection.linear2.weight"] = torch.randn(24, 24)
        keys[f"{side}_projection.layer_norm.weight"] = 1 + 0.1 * torch.randn(24)
        keys[f"{side}_projection.layer_norm.bias"] = 0.1 * torch.randn(24)
    return keys | {"log_logit_scale": torch.tensor(math.log(30.0))}


def reference(towers, state, clip=None, caption=None) -> np.ndarray:
    """An embedding by the published formula, with the transformers library."""
    side = "audio" if caption is None else "text"
    base = {key.removeprefix(f"{side}_branch.base."): value for key, value in state.items() if key.startswith(f"{side}_branch")}
    with torch.inference_mode():
        if caption is None:
            model = transformers.WavLMModel(transformers.WavLMConfig.from_pretrained(towers / "speech")).eval()
            model.load_state_dict(base)
            extractor = transformers.AutoFeatureExtractor.from_pretrained(towers / "speech")
            values = extractor(clip, sampling_rate=16_000, return_tensors="pt")
            features = model(values.input_values).last_hidden_state.mean(1)
        else:
            model = transformers.XLMRobertaModel(transformers.XLMRobertaConfig.from_pretrained(towers / "text")).eval()
            model.load_state_dict(base)
            tokens = transformers.AutoTokenizer.from_pretrained(towers / "text")(caption, return_tensors="pt")
            features = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state[:, 0]
        weight = {key.removeprefix(f"{side}_projection."): value for key, value in state.items()}
        first = features @ weight["linear1.weight"].T
        second = torch.nn.functional.gelu(first) @ weight["linear2.weight"].T
        norm = (weight["layer_norm.weight"], weight["layer_norm.bias"])
        return torch.nn.functional.normalize(torch.nn.functional.layer_norm(first + second, (24,), *norm), dim=-1)[0].numpy()


def add(here, towers, file, *more):
    return here("models", "add", file, "--speech", towers / "speech", "--text", towers / "text", *more)


def test_convert_a_published_checkpoint(here, voxdex, traced_once, towers, state, home, tmp_path, demo_archive):
    torch.save(state, tmp_path / "paraspeechclap-combined.pth.tar")
    torch.manual_seed(1)  # a part that only training uses is drawn anew each time; so the two tests export the same network
    done = add(here, towers, tmp_path / "paraspeechclap-combined.pth.tar", "--json")
    assert done.status == 0, done.err
    assert done.json["licence"] == "CC BY-NC-SA 4.0" and done.json["parity"]["batched_worst"] >= 0.99999
    model = open_model(home / "models" / "paraspeechclap-combined", device="cpu")
    assert model.card.logit_scale == pytest.approx(30, abs=1e-3) and model.card.dimension == 24
    graph = onnx.load(str(model.folder / "speech.onnx")).graph
    stored = {tensor.name for tensor in graph.initializer}
    assert all(node.input[1] in stored for node in graph.node if node.op_type == "Conv"), "weight norms are folded"
    clips = [voice(seconds, 140, i) for i, seconds in enumerate((0.03, 0.4, 2.0, 7.3))]
    for clip, embedding in zip(clips, model.embed_speech(clips), strict=True):
        assert embedding @ reference(towers, state, clip=clip) >= 0.99999
    for caption, embedding in zip(CAPTIONS, model.embed_text(CAPTIONS), strict=True):
        assert embedding @ reference(towers, state, caption=caption) >= 0.99999
    indexed = voxdex("index", demo_archive / "anna-1.wav", "--model", "paraspeechclap-combined")
    assert indexed.status == 0, indexed.err
    assert voxdex("search", "a sad woman", "--json").json["hits"][0]["recording"].endswith("anna-1.wav")
    again = add(voxdex, towers, tmp_path / "paraspeechclap-combined.pth.tar")
    assert again.status == 2 and "already" in again.err


def old_spelling(state):
    renamed = {"original0": "weight_g", "original1": "weight_v"}
    conv = "audio_branch.base.encoder.pos_conv_embed.conv"
    changed = {
        key: value
        for key, value in state.items()
        if "parametrizations" not in key and "logit" not in key and "pooler" not in key
    }
    changed |= {f"{conv}.{new}": state[f"{conv}.parametrizations.weight.{old}"] for old, new in renamed.items()}
    return changed | {
        "logit_temperature": state["log_logit_scale"].reshape(1),
        "text_branch.base.embeddings.position_ids": torch.arange(40),
    }


def test_older_names_of_weights(towers, state, tmp_path):
    from voxdex.encoders.training.paraspeechclap import open_published

    torch.save(state, tmp_path / "new.pth.tar")
    torch.save(old_spelling(state), tmp_path / "old.pth.tar")
    new, old = (
        open_published(tmp_path / name, str(towers / "speech"), str(towers / "text")) for name in ("new.pth.tar", "old.pth.tar")
    )
    pairs = zip(new.network.state_dict().items(), old.network.state_dict().items(), strict=True)
    assert all(a == b and (torch.equal(x, y) or "masked_spec_embed" in a) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {key: value for key, value in state.items() if "layers.1.attention.q_proj.weight" not in key},
            "lacks speech_tower",
        ),
        (lambda state: state | {"text_branch.base.extra.weight": torch.zeros(3, 3)}, "left over text_tower.model.extra.weight"),
        (lambda state: state | {"audio_projection.linear2.weight": torch.zeros(24, 23)}, "in another shape"),
        (
            lambda state: {key: value for key, value in state.items() if key != "log_logit_scale"},
            "not a ParaSpeechCLAP checkpoint",
        ),
        (lambda state: {"model": state}, "not a plain state dict"),
    ],
)
def test_checkpoints_that_do_not_fit(here, towers, state, tmp_path, change, words):
    torch.save(change(state), tmp_path / "x.pth.tar")
    done = add(here, towers, tmp_path / "x.pth.tar")
    assert done.status == 2 and words in done.err and "Traceback" not in done.err


def test_checkpoint_with_pickled_code_is_refused(here, towers, tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"weights": Code()}, tmp_path / "evil.pth.tar", pickle_module=pickle)
    (tmp_path / "text.pth.tar").write_text("hello")
    for name, words in (("evil.pth.tar", "more than weights"), ("text.pth.tar", "is not opened")):
        done = add(here, towers, tmp_path / name)
        assert done.status == 2 and (words in done.err or "cannot be read" in done.err), done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "written").exists()


def test_conversion_without_the_hub(voxdex, here, traced_once, home, towers, state, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = voxdex("models", "add", "paraspeechclap-intrinsic")
    assert done.status == 2, done.err
    place = home / "hub" / "ajd12342" / "paraspeechclap-intrinsic"
    for words in ("paraspeechclap-intrinsic.pth.tar", str(place), "preprocessor_config.json", "tokenizer.json"):
        assert words in done.err.replace("\n", " "), done.err
    place.mkdir(parents=True)
    torch.save(state, place / "paraspeechclap-intrinsic.pth.tar")
    towers_missing = voxdex("models", "add", "ajd12342/paraspeechclap-intrinsic")
    assert towers_missing.status == 2 and "microsoft/wavlm-large" in towers_missing.err
    for source, folder in (("microsoft/wavlm-large", "speech"), ("ibm-granite/granite-embedding-278m-multilingual", "text")):
        (home / "hub" / source).parent.mkdir(parents=True, exist_ok=True)
        (home / "hub" / source).symlink_to(towers / folder)
    from voxdex.encoders.training.initial import load_trained

    weights = load_trained(str(place / "paraspeechclap-intrinsic.pth.tar")).network.state_dict()
    layer = "encoder.layers.1.feed_forward.intermediate_dense.weight"
    assert torch.equal(weights[f"speech_tower.model.{layer}"], state[f"audio_branch.base.{layer}"])
    torch.manual_seed(1)
    done = here("models", "add", "ajd12342/paraspeechclap-intrinsic", "--name", "mine", "--precision", "int8")
    assert done.status == 0, done.err
    card = json.loads((home / "models" / "mine" / "model.json").read_text())
    assert (card["name"], card["precision"], card["licence"]) == ("mine", "int8", "CC BY-NC-SA 4.0")


def test_names_are_not_paths(voxdex, tmp_path):
    (tmp_path / "x.pth.tar").write_text("")
    done = voxdex("models", "add", tmp_path / "x.pth.tar", "--name", "../../elsewhere")
    assert done.status == 2 and "is not a name for a model" in done.err


def test_unknown_files(voxdex):
    done = voxdex("models", "add", "nothing.pth.tar")
    assert done.status == 2 and "no file nothing.pth.tar" in done.err


@pytest.mark.parametrize("recipe", ["paraspeechclap-intrinsic", "paraspeechclap-combined", "ess-clap"])
def test_paper_recipes_train_pretrained_towers(towers, material, tmp_path, recipe):
    from voxdex.encoders.training.initial import load_trained, read_weights
    from voxdex.encoders.training.recipe import load_recipe
    from voxdex.encoders.training.train import train

    changes = (
        f"speech_tower.source={towers / 'speech'}", f"text_tower.source={towers / 'text'}", "projection.dimension=24",
        "schedule.steps=2", "schedule.batch=8", "schedule.precision=bf16", "schedule.crop_seconds=[1, 1]",
        "schedule.learning_rate=1e-3",
    )  # fmt: skip
    manifests = [material / "captions.csv", material / "labels.csv"][: 2 if recipe.endswith("combined") else 1]
    result = train(load_recipe(recipe, changes), manifests, tmp_path / "run", material / "cache")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert result.steps == 2 and ("tags" in log[1]) == (recipe == "paraspeechclap-intrinsic")
    start, end = read_weights(towers / "speech" / "model.safetensors"), load_trained(str(tmp_path / "run")).network.state_dict()
    name = "encoder.layers.0.attention.q_proj.weight"
    assert start[name].shape == end[f"speech_tower.model.{name}"].shape
    assert 0 < (start[name] - end[f"speech_tower.model.{name}"]).abs().max() < 0.1
    if recipe != "ess-clap":
        return
    student = load_recipe("ra-clap", (f"init_from={tmp_path / 'run'}", *changes[3:]))
    train(student, manifests, tmp_path / "student", material / "cache")
    assert load_trained(str(tmp_path / "student")).architecture["speech_tower"]["layers"] == "weighted"
