"""Does an exported model give the numbers that torch gives, alone and in company?"""

from dataclasses import dataclass

import numpy as np
import torch

from encoders.model import Model
from encoders.networks import DualEncoder


@dataclass(frozen=True)
class Parity:
    """Cosines over the clips and captions tried: ONNX against torch, and alone against in a batch of others."""

    clips: int
    captions: int
    speech_worst: float
    speech_mean: float
    text_worst: float
    batched_worst: float


def measure_parity(network: DualEncoder, model: Model, clips: list[np.ndarray], captions: list[str]) -> Parity:
    """Embeds clips (float32 mono at 16 kHz, of many lengths) and captions with torch and with ONNX Runtime."""
    alone = np.stack([next(model.embed_speech([clip])) for clip in clips])
    batched = np.stack(list(model.embed_speech(clips, batch_size=len(clips))))
    text = np.stack(list(model.embed_text(captions)))
    network = network.eval()
    with torch.inference_mode():
        lengths = [torch.tensor([len(clip)]) for clip in clips]
        torch_speech = np.concatenate(
            [
                network.embed_speech(torch.from_numpy(clip)[None], length).numpy()
                for clip, length in zip(clips, lengths, strict=True)
            ]
        )
        encodings = [model.tokenizer.encode(caption) for caption in captions]
        torch_text = np.concatenate(
            [network.embed_text(torch.tensor([e.ids]), torch.tensor([e.attention_mask])).numpy() for e in encodings]
        )
    speech, words, company = ((a * b).sum(axis=1) for a, b in ((alone, torch_speech), (text, torch_text), (alone, batched)))
    return Parity(
        clips=len(clips),
        captions=len(captions),
        speech_worst=float(speech.min()),
        speech_mean=float(speech.mean()),
        text_worst=float(words.min()),
        batched_worst=float(company.min()),
    )
