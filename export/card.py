"""The model card: what model.json says, for people."""

from voxdex.encoders.model_card import ModelCard

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

{hears}

## What it does not hear

{does_not_hear}
"""

TRAINED_ON = """
## What it was trained on

| data set | licence | clips | hours | speakers |
|---|---|---|---|---|
{data}
"""

TEACHER = """
The text tower learned from a general sentence encoder ({teacher}) on captions of ours and the definitions of
WordNet; its weights and its vocabulary are our own.
"""

METRICS = """
## Figures

{measured}

| metric | set | clips | % | 95 % | chance |
|---|---|---|---|---|---|
{metrics}
"""

MEASURED = {
    "captions": """\
On clips that were never trained on: zero-shot unweighted average recall (or area under the ROC curve, AUC) in percent, with the
labels and templates that ship, and retrieval; with 95 % intervals. `edit` are vocoder edits of held-out speakers' speech.""",
    "phonemes": """\
The tests of SCRAPS on real recordings of speakers and sentences that were never trained on, with 95 % intervals: how often the
evidence falls when phonemes are replaced at random, and the right sentence is found among a hundred; by the evidence in the
frames, and by the cosine of the vectors (`evaluate phonetics`).""",
}

PARITY = """
## Agreement with torch

The graphs ({precision}) against torch in fp32, on {clips} clips ({sounds}) of {shortest:g} to {longest:g} s
and {captions} {text}; batched is a clip among others.

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
They are calibrated for speech such as that; elsewhere they are more confident than right."""
UNCALIBRATED = """a softmax of the cosines times the logit scale {logit_scale:.1f}. They say how the labels compare with each
other, and are not calibrated."""

INTELLIGIBILITY = """
## How to read a score

The evidence for phonemes is how much more probable the clip makes them than they are anyhow, in nats: log p(phonemes | clip),
over all ways of laying them along its frames, less log p(phonemes). `intelligibility` turns the evidence for each phoneme into
the share of right phonemes that it stands for in clear speech of held-out speakers: {curve}.
The cosine between the embeddings of a clip and of phonemes is quicker to compute, and less sure.
"""

DATA_ROW = "| {name} | {licence} | {clips} | {hours} | {speakers} |"
METRIC_ROW = "| {name} | {set} | {clips} | {value} | {low}-{high} | {chance} |"


def model_card(card: ModelCard, hears: str = "", does_not_hear: str = "", teacher: str = "") -> str:
    """The card as Markdown; sections of which nothing is known are left out.

    Args:
        card: model.json.
        hears, does_not_hear, teacher: prose.
    """
    fields = {name: getattr(card, name) for name in card.__dataclass_fields__} | {"space": card.space}
    parts = [HEAD.format(**fields)]
    if hears:
        parts.append(HEARS.format(hears=hears, does_not_hear=does_not_hear))
    if card.trained_on:
        parts.append(TRAINED_ON.format(data="\n".join(DATA_ROW.format(**row) for row in card.trained_on)))
    if teacher:
        parts.append(TEACHER.format(teacher=teacher))
    if card.metrics["evaluation"]:
        rows = "\n".join(METRIC_ROW.format(**row) for row in card.metrics["evaluation"])
        parts.append(METRICS.format(metrics=rows, measured=MEASURED[card.text]))
    if "parity" in card.metrics:
        parts.append(PARITY.format(**card.metrics["parity"], text=card.text))
    if "speed" in card.metrics:
        parts.append(SPEED.format(**card.metrics["speed"]))
    if card.text == "phonemes":
        curve = ", ".join(f"{share:.0%} at {nats:.2f}" for nats, share in card.phonetics.intelligibility)
        return "".join([*parts, INTELLIGIBILITY.format(curve=curve)])
    scales = ", ".join(f"{name} {scale:.0f}" for name, scale in card.scales.items())
    calibration = CALIBRATED.format(scales=scales) if card.scales else UNCALIBRATED.format(**fields)
    parts.append(SCORES.format(calibration=calibration))
    return "".join(parts)
