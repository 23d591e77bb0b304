"""Model cards: README.md of a model folder, from model.json."""

from voxdex.encoders.model_card import ModelCard
from voxdex.encoders.training.validation import LEAST_AREA

HEAD = """\
# {name} {version}

{description}

- licence: **{licence}**
- embeddings: {dimension} dimensions, space `{space}`
- input: mono sound at {sample_rate} Hz, at most {max_seconds:g} s a clip; {text}
- graphs: ONNX opset {opset}, {precision}; {normalisation}
"""

HEARS = """
## What it hears

Labels that clips with and without them are told apart by, on held-out speakers (the 95 % interval of the area under
the ROC curve is above {least:g} %):

{hears}
"""

DOES_NOT_HEAR = """
## What it does not hear

{does_not_hear}. Labels that are not listed above were not told apart, or were not in the data.
"""

TRAINED_ON = """
## What it was trained on

| data set | licence | clips | hours | speakers |
|---|---|---|---|---|
{data}
"""

METRICS = """
## Metrics

{measured}

| metric | set | clips | % | 95 % | chance |
|---|---|---|---|---|---|
{metrics}
"""

MEASURED = {
    "captions": """\
On held-out speakers: zero-shot unweighted average recall (or area under the ROC curve, AUC) in percent, with the labels and
templates that ship, and retrieval. The 95 % intervals are over speakers, or over clips for sets of fewer than five speakers.
`edit`: vocoder edits of held-out speakers.""",
    "phonemes": """\
The SCRAPS evaluation on real recordings of held-out speakers and sentences, with 95 % intervals: how often the score falls when
phonemes are replaced at random, and how often the right sentence is found among a hundred; the score is the pointwise mutual
information (PMI), or the cosine of the embeddings "by vectors" (`evaluate phonetics`).""",
}

PARITY = """
## Agreement with torch

The graphs ({precision}) against torch in fp32, on {clips} clips ({sounds}) of {shortest:g} to {longest:g} s
and {captions} {text}; "batched" is a clip in a batch.

| | worst cosine | mean |
|---|---|---|
| speech | {speech_worst:.7f} | {speech_mean:.7f} |
| batched | {batched_worst:.7f} | {batched_mean:.7f} |
| text | {text_worst:.7f} | {text_mean:.7f} |
"""

SPEED = """
## Speed

On {cores} processor cores {audio_seconds_per_second:g} seconds of audio a second, and {caption_milliseconds:g} ms for the
text of a query, with ONNX Runtime on the machine that exported it.
"""

SCORES = """
## How to read a score

A score is the cosine between a caption's and a clip's embedding. Within one query a higher score is a better fit; the absolute
value means little, and scores of different captions must not be compared. `classify` turns cosines into probabilities over the
labels: {calibration}
"""

CALIBRATED = """a softmax of the cosines times a scale that was fitted for each attribute on held-out speakers
({scales}).
They are calibrated for similar speech; on other speech they are overconfident."""
UNCALIBRATED = """a softmax of the cosines times the logit scale {logit_scale:.1f}. They compare the labels with each
other, and are not calibrated."""

INTELLIGIBILITY = """
## How to read a score

The evidence for phonemes is their pointwise mutual information with the clip, in nats: log p(phonemes | clip), over all
alignments with its frames, minus log p(phonemes). `intelligibility` converts the evidence per phoneme to the fraction of
correct phonemes that gives the same evidence in clear speech of held-out speakers: {curve}.
The cosine between the embeddings of a clip and of phonemes is faster to compute, and less reliable.
"""

SPEAKERS = """
## How to read a cosine

The cosine of two clips' embeddings tells whether one person speaks in both. From {clip:.2f} on a clip is taken for the person's
of a voice that is searched for; clips of one recording are one speaker's from a mean cosine of {recording:.2f} on, and
speakers of two recordings one person from {archive:.2f} on. Short clips, whispers and strong emotions are told apart worse.
"""

EQUAL_ERRORS = """
## Metrics

Equal error rate in percent on held-out speakers, of all pairs of clips; those of one speaker are of two recordings, or of two
emotions where it says so. `published`: before the last layer was trained.

| set | speakers | clips | % | published |
|---|---|---|---|---|
{rows}
"""

EQUAL_ERROR_ROW = "| {set} | {speakers} | {clips} | {value} | {published} |"

DATA_ROW = "| {name} | {licence} | {clips} | {hours} | {speakers} |"
METRIC_ROW = "| {name} | {set} | {clips} | {value} | {low}-{high} | {chance} |"


def speaker_card(card: ModelCard, towers: str) -> str:
    """Return the card of a speaker model as Markdown. towers: prose on where its network comes from."""
    assert card.speakers is not None
    fields = {name: getattr(card, name) for name in card.__dataclass_fields__} | {"space": card.space, "text": "no text"}
    rows = "\n".join(EQUAL_ERROR_ROW.format(**row) for row in card.metrics["evaluation"])
    data = "\n".join(DATA_ROW.format(**row) for row in card.trained_on)
    parts = [HEAD.format(**fields), TRAINED_ON.format(data=data), f"\n{towers.strip()}\n", EQUAL_ERRORS.format(rows=rows)]
    return "".join([*parts, SPEAKERS.format(**vars(card.speakers))])


def model_card(card: ModelCard, notes: str = "", towers: str = "") -> str:
    """Return the card as Markdown, without sections that would be empty.

    Args:
        card: the content of model.json.
        notes: prose on what the model hears. towers: prose on where its towers come from.
    """
    fields = {name: getattr(card, name) for name in card.__dataclass_fields__} | {"space": card.space}
    parts = [HEAD.format(**fields)]
    if card.hears:
        hears = "\n".join(f"- {name}: {', '.join(labels)}" for name, labels in card.hears.items())
        parts.append(HEARS.format(hears=hears, least=LEAST_AREA))
    if notes:
        parts.append(f"\n{notes.strip()}\n")
    if card.does_not_hear:
        parts.append(DOES_NOT_HEAR.format(does_not_hear=", ".join(card.does_not_hear).capitalize()))
    if card.trained_on:
        parts.append(TRAINED_ON.format(data="\n".join(DATA_ROW.format(**row) for row in card.trained_on)))
    if towers:
        parts.append(f"\n{towers.strip()}\n")
    if card.metrics["evaluation"]:
        rows = "\n".join(METRIC_ROW.format(**row) for row in card.metrics["evaluation"])
        parts.append(METRICS.format(metrics=rows, measured=MEASURED[card.text]))
    if "parity" in card.metrics:
        parts.append(PARITY.format(**card.metrics["parity"], text=card.text))
    if "speed" in card.metrics:
        parts.append(SPEED.format(**card.metrics["speed"]))
    if card.text == "phonemes" and card.phonetics:
        curve = ", ".join(f"{fraction:.0%} at {nats:.2f}" for nats, fraction in card.phonetics.intelligibility)
        return "".join([*parts, INTELLIGIBILITY.format(curve=curve)])
    scales = ", ".join(f"{name} {scale:.0f}" for name, scale in card.scales.items())
    calibration = CALIBRATED.format(scales=scales) if card.scales else UNCALIBRATED.format(**fields)
    parts.append(SCORES.format(calibration=calibration))
    return "".join(parts)
