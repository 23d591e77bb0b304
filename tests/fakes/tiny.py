"""A small network, and material to train it on: low male and high female voices."""

import csv
import random
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.networks.text_tower import TransformerTextTower
from voxdex.encoders.training.data.caption_templates import write_caption
from voxdex.encoders.training.scripts.distil import train_tokenizer

SMALL_SPEECH = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "apply_spec_augment": False,
}  # fmt: skip
SMALL_TEXT = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
"""Configurations of small speech and text encoders for the transformers library."""

RECIPE = """
[speech_tower]
kind = "convnext"
mel_bins = 32
widths = [16, 24]
depths = [1, 1]
dropout = 0.0

[text_tower]
kind = "transformer"
source = "{folder}/text"
vocabulary = 600
hidden = 32
layers = 1
heads = 2
features = 48

[projection]
kind = "residual"
dimension = 16
dropout = 0.1

[schedule]
seed = 3
steps = 120
batch = 8
crop_seconds = [0.5, 1.0]
learning_rate = 3e-3
average_decay = 0.5
one_cycle = true
warmup = 0.1
clip_norm = 1.0
augment = 0.5
validate_every = 60

[loss]
positives = "labels"
attributes = 1.0

[card]
name = "tiny"
description = "A test."
licence = "none"
prompt_templates = []
notes = "It hears nothing much."
does_not_hear = ["the rest"]
towers = "Its towers start from nothing."
"""


def make_material(folder: Path) -> Path:
    """Writes sounds, two manifests (labels.csv, captions.csv), a text tower and tiny.toml into a folder."""
    (folder / "tiny.toml").write_text(RECIPE.format(folder=folder))
    labels = [["path", "dataset", "licence", "speaker", "split", "gender", "pitch"]]
    captions = [["path", "speaker", "caption", "tags"]]
    for i in range(60):
        gender, pitch, f0 = [("male", "low", 95), ("female", "high", 230)][i % 2]
        write_sound(folder / f"{i}.wav", voice(1.0, f0 * (1 + 0.01 * (i % 7)), seed=i))
        labels.append([f"{i}.wav", "synthetic", "none", f"s{i}", "valid" if i >= 36 else "train", gender, pitch])
        said = ["a low man | the voice of a man, low-pitched", "a high woman | a woman with a high voice"][i % 2]
        captions.append([f"{i}.wav", f"s{i}", said, f"{gender}|{pitch}" + ("|rare" if i == 7 else "")])
    for name, rows in (("labels", labels), ("captions", captions)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    text = folder / "text"
    text.mkdir()
    rng = random.Random(0)
    claims = [("gender", "female"), ("gender", "male"), ("pitch", "low"), ("pitch", "high")]
    train_tokenizer([write_caption([rng.choice(claims)], rng) for _ in range(500)], 600).save(str(text / "tokenizer.json"))
    torch.manual_seed(0)
    save_file(TransformerTextTower(600, 32, 1, 2, 48).state_dict(), text / "text_tower.safetensors")
    return folder
