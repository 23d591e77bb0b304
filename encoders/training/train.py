"""Trains a dual encoder from a manifest of labelled clips by a recipe.

    python -m encoders.training.train encoders/training/recipes/mini.toml MANIFEST --text DISTILLED --out RUN

RUN then holds weights.safetensors (averaged weights), tokenizer.json, and run.json: recipe, manifest hash, data sets, figures.
"""

import hashlib
import json
import random
import shutil
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from encoders.attributes import load_attributes
from encoders.audio import SAMPLE_RATE
from encoders.metrics import classification
from encoders.networks import ConvNeXtSpeechTower, DualEncoder, TransformerTextTower
from encoders.training.augment import augment
from encoders.training.captions import write_caption
from encoders.training.data import CLAIMS, Clips, endless_batches, load_clips, sampling_weights
from encoders.training.losses import attribute_classification, contrastive, match

EXCLUSIVE = [attribute.name for attribute in load_attributes().values() if attribute.exclusive]
PROMPTED = [i for i, (name, _) in enumerate(CLAIMS) if name in EXCLUSIVE]
"""Columns of the claims that each step makes a prompt for, beside the captions of its clips."""
ATTRIBUTE_COLUMNS = [[i for i, column in enumerate(PROMPTED) if CLAIMS[column][0] == name] for name in EXCLUSIVE]
"""Where the labels of each exclusive attribute lie among PROMPTED."""

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
def validate(network: DualEncoder, clips: Clips, writer: CaptionWriter) -> list[dict[str, Any]]:
    """Zero-shot UAR in percent by attribute and data set, where a set has two labels or more: rows of the model card."""
    network.eval()
    order = np.argsort(clips.lengths)
    rng = np.random.default_rng(0)
    speech = np.zeros((len(clips), network.dimension), dtype=np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32].tolist()
        speech[rows] = network.embed_speech(*clips.batch(rows, None, rng)).numpy()
    groups = ["edit" if row["dataset"].startswith("edit-") else row["dataset"] for row in clips.rows]
    figures = []
    for name in EXCLUSIVE:
        attribute = load_attributes()[name]
        prompts = [network.embed_text(*writer.tokens(attribute.prompts(label))).mean(0) for label in attribute.labels]
        text = nn.functional.normalize(torch.stack(prompts), dim=-1).numpy()
        for group in sorted(set(groups)):
            rows = [i for i, row in enumerate(clips.rows) if groups[i] == group and "|" not in (row.get(name) or "|")]
            present = tuple(label.name for label in attribute.labels if label.name in {clips.rows[i][name] for i in rows})
            if len(present) < 2 or len(rows) < 20:
                continue
            columns = [i for i, label in enumerate(attribute.labels) if label.name in present]
            predicted = [present[i] for i in (speech[rows] @ text[columns].T).argmax(1)]
            uar = classification([clips.rows[i][name] for i in rows], predicted, present).uar
            figures.append(
                {
                    "question": name,
                    "set": group,
                    "clips": len(rows),
                    "figure": round(uar, 1),
                    "chance": round(100 / len(present), 1),
                }
            )
    return figures


def data_sets(clips: Clips) -> list[dict[str, Any]]:
    """What a model was trained on, as model.json lists it."""
    rows = defaultdict(list)
    for row, length in zip(clips.rows, clips.lengths, strict=True):
        name = "vocoder edits of these" if row["dataset"].startswith("edit-") else row["dataset"]
        rows[name, row["licence"]].append((row["speaker"], length))
    return [
        {
            "name": name,
            "licence": licence,
            "clips": len(found),
            "hours": round(float(sum(length for _, length in found)) / SAMPLE_RATE / 3600, 2),
            "speakers": len({speaker for speaker, _ in found}),
        }
        for (name, licence), found in sorted(rows.items())
    ]


class Trainer:
    """A network in training: its optimiser, its averaged weights and its sources of chance, all from one seed."""

    def __init__(self, recipe: dict, train: Clips, text: Path) -> None:
        self.settings = recipe["training"]
        torch.manual_seed(self.settings["seed"])
        self.rng = np.random.default_rng(self.settings["seed"])
        self.noise = torch.Generator().manual_seed(self.settings["seed"])
        self.writer = CaptionWriter(Tokenizer.from_file(str(text / "tokenizer.json")), self.settings["seed"])
        self.clips = train
        self.draws = endless_batches(train, self.settings["batch"], sampling_weights(train.rows, recipe["shares"]), self.rng)

        self.network = build_network(recipe)
        self.network.text_tower.load_state_dict(torch.load(text / "text_tower.pt", weights_only=True))
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.settings["average_decay"]))
        slow = list(self.network.text_tower.parameters())
        rest = [p for name, p in self.network.named_parameters() if not name.startswith("text_tower.")]
        rate = self.settings["learning_rate"]
        rates = [rate, rate * self.settings["text_tower_rate"]]
        self.optimizer = torch.optim.AdamW(
            [{"params": rest}, {"params": slow}], lr=rate, weight_decay=self.settings["weight_decay"], betas=(0.9, 0.98)
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rates, total_steps=self.settings["steps"], pct_start=self.settings["warmup"], cycle_momentum=False
        )

    def step(self) -> dict[str, float]:
        """One batch; its losses."""
        self.network.train()
        loss_contrastive, loss_classes = self._losses(next(self.draws))
        loss = loss_contrastive + self.settings["classification_weight"] * loss_classes
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return {"contrastive": loss_contrastive.item(), "classes": loss_classes.item()}

    def _losses(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        waveform, lengths = self.clips.batch(rows, float(self.rng.uniform(*self.settings["crop_seconds"])), self.rng)
        truth = torch.from_numpy(self.clips.truth[rows])
        captions, claims = self.writer.captions(self.clips.truth[rows])
        claims = torch.cat([claims, torch.eye(len(CLAIMS))[PROMPTED]])

        speech = self.network.embed_speech(augment(waveform, lengths, self.noise), lengths)
        text = self.network.embed_text(*self.writer.tokens(captions + self.writer.prompts()))
        logits = self.network.logit_scale * speech @ text.T
        classes = attribute_classification(logits[:, len(rows) :], truth[:, PROMPTED], ATTRIBUTE_COLUMNS)
        return contrastive(logits, match(truth, claims)), classes


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
    shutil.copy(text / "tokenizer.json", out / "tokenizer.json")
    shutil.copy(manifest, out / "manifest.csv")

    clips = load_clips(manifest, cache)
    train = clips.select([i for i, row in enumerate(clips.rows) if row["split"] == "train" and (clips.truth[i] == 1).any()])
    valid = clips.select([i for i, row in enumerate(clips.rows) if row["split"] == "valid"])
    quick = valid.select(sorted(np.random.default_rng(0).permutation(len(valid))[:700].tolist()))
    trainer = Trainer(recipe, train, text)
    progress = tqdm(range(1, settings["steps"] + 1), unit="step", mininterval=20)
    with (out / "log.jsonl").open("w") as log:
        for step in progress:
            line = {"step": step} | trainer.step()
            progress.set_postfix({name: f"{line[name]:.2f}" for name in ("contrastive", "classes")}, refresh=False)
            last = step == settings["steps"]
            if last or step % settings["validate_every"] == 0:
                line["figures"] = validate(trainer.average.module, valid if last else quick, trainer.writer)
                save_file(trainer.average.module.state_dict(), out / "weights.safetensors")
                tqdm.write(json.dumps(line))
            print(json.dumps(line), file=log, flush=True)
    run = {
        "recipe": recipe,
        "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        "trained_on": data_sets(train),
        "figures": line["figures"],
    }
    (out / "run.json").write_text(json.dumps(run, indent=2) + "\n")


if __name__ == "__main__":
    main()
