"""The model card: what model.json says, for people."""

from encoders.model_folder import ModelCard

TEXT = """\
# {name} {version}

{description}

- licence: **{licence}**
- embeddings: {dimension} dimensions, space `{space}`
- input: mono sound at {sample_rate} Hz, at most {max_seconds:g} s a clip; captions in English
- graphs: ONNX opset {opset}, {precision}; {normalisation}

## What it hears

{hears}

## What it does not hear

{does_not_hear}

## What it was trained on

| data set | licence | clips | hours | speakers |
|---|---|---|---|---|
{data}

The text tower learned from a general sentence encoder ({teacher}) on captions of ours and the definitions of
WordNet; its weights and its vocabulary are our own.

## Figures

Zero-shot unweighted average recall in percent, with the labels and templates that ship, on speakers that were never trained
on. `edit` are vocoder edits of real speech by held-out speakers.

| question | set | figure | chance |
|---|---|---|---|
{figures}

## How to read a score

A score is the cosine between a caption's and a clip's embedding. Within one query a higher score is a better fit; the absolute
value means little, and scores of different captions must not be compared. `classify` turns cosines into probabilities with the
logit scale {logit_scale:.1f}: they say how the labels compare with each other, and are not calibrated.
"""


def model_card(card: ModelCard, about: dict) -> str:
    """The card as Markdown.

    Args:
        card: model.json.
        about: prose of the recipe: hears, does_not_hear, teacher.
    """
    data = "\n".join("| {name} | {licence} | {clips} | {hours} | {speakers} |".format(**row) for row in card.trained_on)
    figures = "\n".join("| {question} | {set} | {figure} | {chance} |".format(**row) for row in card.metrics["figures"])
    fields = {name: getattr(card, name) for name in card.__dataclass_fields__} | {"space": card.space}
    return TEXT.format(**fields | about | {"data": data, "figures": figures})
