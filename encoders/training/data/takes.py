"""Takes of clips for a frozen speech tower: crops under drawn recording conditions, each embedded once."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from voxdex.encoders.training.annotate.label_rules import played
from voxdex.encoders.training.data.augment import RecordingConditions, augment, draw_conditions
from voxdex.encoders.training.data.dataset import Clips
from voxdex.encoders.training.recipe import Schedule


@dataclass(frozen=True)
class Take:
    """How a clip is played.

    row: of the clip. number: of the take. place, seconds: of the crop, see Clips.crops. speed: a factor.
    """

    row: int
    number: int
    place: float
    speed: float
    seconds: float
    conditions: RecordingConditions


class Takes:
    """A few takes of each clip, and the features that a frozen speech tower has for them.

    Args:
        clips: the clips.
        schedule: the recipe's section.
        tower: the frozen tower.
        device: of the tower.
    """

    def __init__(self, clips: Clips, schedule: Schedule, tower: nn.Module, device: torch.device) -> None:
        self._clips, self._schedule, self._tower, self._device = clips, schedule, tower, device
        self._features: dict[tuple[int, int], Tensor] = {}

    def draw(self, row: int, rng: random.Random) -> Take:
        """Draw one of a clip's takes."""
        number = rng.randrange(self._schedule.takes)
        drawn = random.Random(repr((self._schedule.seed, "take", row, number)))
        furthest = math.log1p(self._schedule.speed_change)
        conditions = draw_conditions(1, torch.Generator().manual_seed(drawn.getrandbits(62)), self._schedule.augment)
        speed = math.exp(drawn.uniform(-furthest, furthest))
        return Take(row, number, drawn.random(), speed, drawn.uniform(*self._schedule.crop_seconds), conditions)

    def labels(self, take: Take) -> dict[str, str]:
        """Return the cells of the clip's row that the take changes."""
        return played(self._clips.rows[take.row], take.speed) | take.conditions.labels()[0]

    @torch.no_grad()
    def features(self, takes: Sequence[Take]) -> Tensor:
        """Return the tower's features of takes, [takes, width]; those that were asked for before are remembered."""
        fresh = {(take.row, take.number): take for take in takes if (take.row, take.number) not in self._features}
        if fresh:
            sounds = [self._sound(take) for take in fresh.values()]
            lengths = torch.tensor([len(sound) for sound in sounds])
            waveform = pad_sequence(sounds, batch_first=True)
            found = self._tower(waveform.to(self._device), lengths.to(self._device)).float().cpu()
            self._features.update(zip(fresh, found, strict=True))
        return torch.stack([self._features[take.row, take.number] for take in takes]).to(self._device)

    def _sound(self, take: Take) -> Tensor:
        waveform, lengths = self._clips.crops([take.row], take.seconds, [take.place], [take.speed])
        if self._schedule.augment:
            noise = torch.Generator().manual_seed(random.Random(repr((take.row, take.number))).getrandbits(62))
            waveform = augment(waveform, lengths, take.conditions, noise)
        return waveform[0]
