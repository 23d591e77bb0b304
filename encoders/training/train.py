"""Trains a dual encoder from a manifest of labelled clips by a recipe.

    python -m encoders.training.train encoders/training/recipes/mini.toml MANIFEST --text DISTILLED --out RUN

RUN then holds weights.safetensors (averaged weights), tokenizer.json, and run.json: recipe, manifest hash, figures.
"""

import hashlib
import json
import random
import shutil
import tomllib
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from encoders.attributes import load_attributes
from encoders.metrics import classification
from encoders.networks import ConvNeXtSpeechTower, DualEncoder, TransformerTextTower
from encoders.training.augment import augment
from encoders.training.captions import write_caption
from encoders.training.data import CLAIMS, Clips, endless_batches, load_clips, sampling_weights
from encoders.training.losses import attribute_classification, contrastive, match

EXCLUSIVE = [attribute.name for attribute in load_attributes().values() if attribute.exclusive]
PROMPTED = [i for i, (name, _) in enumerate(CLAIMS) if name in EXCLUSIVE]
"""Columns of the claims that each step makes a prompt for, beside the captions of its clips."""

UNREMARKABLE = {("phonation", "modal"), ("pitch", "medium"), ("intensity", "normal")}
"""What people seldom mention."""


def build_network(recipe: dict) -> DualEncoder:
    """The network that a recipe describes, with random weights."""
    return DualEncoder(
        ConvNeXtSpeechTower(**recipe["speech_tower"]), TransformerTextTower(**recipe["text_tower"]), **recipe["projection"]
    )


class CaptionWriter:
    """Draws captions for clips, and tokenises them."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer, self.rng = tokenizer, random.Random(seed)

    def captions(self, truth: np.ndarray) -> tuple[list[str], Tensor]:
        """A caption for each clip of a truth table [clips, claims], and the claims that each makes, float [clips, claims]."""
        texts, claims = [], torch.zeros(len(truth), len(CLAIMS))
        for row, known in enumerate(truth):
            by_attribute: dict[str, list[int]] = {}
            for column in np.flatnonzero(known == 1):
                if CLAIMS[column] not in UNREMARKABLE or self.rng.random() < 0.15:
                    by_attribute.setdefault(CLAIMS[column][0], []).append(int(column))
            names = self.rng.sample(list(by_attribute), min(len(by_attribute), self.rng.choice((1, 1, 2, 2, 3, 4))))
            columns = [self.rng.choice(by_attribute[name]) for name in names]
            texts.append(write_caption([CLAIMS[column] for column in columns], self.rng))
            claims[row, columns] = 1
        return texts, claims

    def prompts(self) -> list[str]:
        """A short caption for every label of an exclusive attribute, in the order of PROMPTED."""
        return [write_caption([CLAIMS[column]], self.rng) for column in PROMPTED]

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, int64 [texts, longest]."""
        encodings = self.tokenizer.encode_batch(texts)
        return torch.tensor([e.ids for e in encodings]), torch.tensor([e.attention_mask for e in encodings])


@torch.inference_mode()
def validate(network: DualEncoder, clips: Clips, writer: CaptionWriter) -> dict[str, float]:
    """Zero-shot UAR in percent by data set, for the attributes of which it has two labels or more."""
    network.eval()
    order = np.argsort(clips.lengths)
    rng = np.random.default_rng(0)
    speech = np.zeros((len(clips), network.dimension), dtype=np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32].tolist()
        speech[rows] = network.embed_speech(*clips.batch(rows, None, rng)).numpy()
    figures = {}
    for name in EXCLUSIVE:
        attribute = load_attributes()[name]
        prompts = [network.embed_text(*writer.tokens(attribute.prompts(label))).mean(0) for label in attribute.labels]
        text = nn.functional.normalize(torch.stack(prompts), dim=-1).numpy()
        groups = ["edit" if row["dataset"].startswith("edit-") else row["dataset"] for row in clips.rows]
        for dataset in sorted(set(groups)):
            rows = [i for i, row in enumerate(clips.rows) if groups[i] == dataset and "|" not in (row.get(name) or "|")]
            present = sorted({clips.rows[i][name] for i in rows})
            if len(present) < 2 or len(rows) < 20:
                continue
            columns = [i for i, label in enumerate(attribute.labels) if label.name in present]
            predicted = [attribute.labels[columns[i]].name for i in (speech[rows] @ text[columns].T).argmax(1)]
            truth = [clips.rows[i][name] for i in rows]
            figures[f"{name}/{dataset}"] = round(classification(truth, predicted, tuple(present)).uar, 1)
    return figures


@click.command()
@click.argument("recipe_file", type=click.Path(exists=True, path_type=Path))
@click.argument("manifest", type=click.Path(exists=True, path_type=Path))
@click.option("--text", type=click.Path(exists=True, path_type=Path), required=True, help="A distilled text tower.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"), show_default=True, help="Decoded sound.")
@click.option("--steps", type=int, help="Overrides the recipe.")
def main(recipe_file: Path, manifest: Path, text: Path, out: Path, cache: Path, steps: int | None) -> None:
    """Train a dual encoder."""
    recipe = tomllib.loads(recipe_file.read_text(encoding="utf-8"))
    settings = recipe["training"]
    settings["steps"] = steps or settings["steps"]
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings["seed"])
    rng = np.random.default_rng(settings["seed"])
    noise = torch.Generator().manual_seed(settings["seed"])

    clips = load_clips(manifest, cache)
    train = clips.select([i for i, row in enumerate(clips.rows) if row["split"] == "train" and (clips.truth[i] == 1).any()])
    valid = clips.select([i for i, row in enumerate(clips.rows) if row["split"] == "valid"])
    quick = valid.select(sorted(rng.choice(len(valid), min(700, len(valid)), replace=False).tolist()))
    writer = CaptionWriter(Tokenizer.from_file(str(text / "tokenizer.json")), settings["seed"])
    shutil.copy(text / "tokenizer.json", out / "tokenizer.json")

    network = build_network(recipe)
    network.text_tower.load_state_dict(torch.load(text / "text_tower.pt", weights_only=True))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings["average_decay"]))
    slow = list(network.text_tower.parameters())
    rest = [p for name, p in network.named_parameters() if not name.startswith("text_tower.")]
    rates = [settings["learning_rate"], settings["learning_rate"] * settings["text_tower_rate"]]
    optimizer = torch.optim.AdamW(
        [{"params": rest}, {"params": slow}], lr=rates[0], weight_decay=settings["weight_decay"], betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=settings["steps"], pct_start=settings["warmup"], cycle_momentum=False
    )
    draws = endless_batches(train, settings["batch"], sampling_weights(train.rows, recipe["shares"]), rng)
    columns = [[i for i, column in enumerate(PROMPTED) if CLAIMS[column][0] == name] for name in EXCLUSIVE]
    progress = tqdm(range(1, settings["steps"] + 1), unit="step", mininterval=20)
    log = (out / "log.jsonl").open("w")
    for step in progress:
        rows = next(draws)
        waveform, lengths = train.batch(rows, float(rng.uniform(*settings["crop_seconds"])), rng)
        truth = train.truth[rows]
        texts, claims = writer.captions(truth)
        texts += writer.prompts()
        claims = torch.cat([claims, torch.eye(len(CLAIMS))[PROMPTED]])

        network.train()
        speech = network.embed_speech(augment(waveform, lengths, noise), lengths)
        text_vectors = network.embed_text(*writer.tokens(texts))
        logits = network.logit_scale * speech @ text_vectors.T
        truth = torch.from_numpy(truth)
        loss_contrastive = contrastive(logits, match(truth, claims))
        loss_classes = attribute_classification(logits[:, len(rows) :], truth[:, PROMPTED], columns)
        loss = loss_contrastive + settings["classification_weight"] * loss_classes
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)

        line = {"step": step, "contrastive": loss_contrastive.item(), "classes": loss_classes.item()}
        if step % settings["validate_every"] == 0 or step == settings["steps"]:
            everything = step == settings["steps"]
            line |= validate(average.module, valid if everything else quick, writer)
            line["logit_scale"] = network.logit_scale.item()
            print(json.dumps(line), flush=True)
            save_file(average.module.state_dict(), out / "weights.safetensors")
        log.write(json.dumps(line) + "\n")
        log.flush()
        progress.set_postfix(contrastive=f"{line['contrastive']:.2f}", classes=f"{line['classes']:.2f}", refresh=False)
    run = {"recipe": recipe, "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(), "validation": line}
    (out / "run.json").write_text(json.dumps(run, indent=2) + "\n")


if __name__ == "__main__":
    main()
