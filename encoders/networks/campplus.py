"""CAM++ (Wang et al. 2023): waveform to speaker embedding, by a densely connected TDNN with context-aware masking.

The names of the parts are those of the 3D-Speaker project, so that its published weights load as they are.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT, MELS = 400, 160, 512, 80
"""Samples of a frame (25 ms), between frames (10 ms) and of its Fourier transform; bands of the mel spectrum."""
LOWEST_HZ = 20.0
PRE_EMPHASIS = 0.97
FLOOR = torch.finfo(torch.float32).eps
"""Least mel power."""
CHANNELS, GROWTH, BOTTLENECK = 128, 32, 128
"""Channels of the first layer, added by each layer of a block, and between its two convolutions."""
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""
SEGMENT = 100
"""Frames (2 s) whose mean is the local context of a mask."""
DIMENSION = 192


class KaldiFrontEnd(nn.Module):
    """Waveform to log mel power as Kaldi computes it (Povey window, no dither), less its mean over time."""

    kernels: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", _frame_kernels(), persistent=False)
        self.register_buffer("filters", _mel_filters(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform [batch, samples] of at least WINDOW samples -> log mel power [batch, MELS, frames]."""
        spectrum = nn.functional.conv1d(waveform[:, None], self.kernels, stride=HOP)
        real, imaginary = spectrum.chunk(2, dim=1)
        power = self.filters @ (real * real + imaginary * imaginary)
        logs = power.clamp(min=FLOOR).log()
        return logs - logs.mean(dim=2, keepdim=True)


def _frame_kernels() -> Tensor:
    """Return what turns a frame into cosines and sines of its spectrum: [2 * (FFT // 2 + 1), 1, WINDOW].

    Removal of the mean, pre-emphasis and window are linear, so they are part of it.
    """
    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64) ** 0.85
    centred = torch.eye(WINDOW, dtype=torch.float64) - 1 / WINDOW
    before = torch.cat([centred[:1], centred[:-1]])
    prepared = window[:, None] * (centred - PRE_EMPHASIS * before)
    angle = 2 * math.pi / FFT * torch.arange(FFT // 2 + 1, dtype=torch.float64)[:, None] * torch.arange(WINDOW)
    return (torch.cat([angle.cos(), -angle.sin()]) @ prepared)[:, None].float()


def _mel_filters() -> Tensor:
    """Return triangular filters on Kaldi's mel scale: [MELS, FFT // 2 + 1]."""

    def to_mel(hz: Tensor) -> Tensor:
        return 1127 * torch.log1p(hz / 700)

    low, high = to_mel(torch.tensor([LOWEST_HZ, SAMPLE_RATE / 2], dtype=torch.float64))
    edges = torch.linspace(float(low), float(high), MELS + 2, dtype=torch.float64)
    mels = to_mel(torch.arange(FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT)
    left, centre, right = (edges[start : start + MELS, None] for start in range(3))
    filters = torch.minimum((mels - left) / (centre - left), (right - mels) / (right - centre)).clamp(min=0)
    filters[:, -1] = 0
    return filters.float()


class SpeakerNetwork(nn.Module):
    """Waveform -> speaker embedding of unit length."""

    def __init__(self, dimension: int = DIMENSION) -> None:
        super().__init__()
        self.front_end = KaldiFrontEnd()
        self.head = _Spectrum()
        layers: dict[str, nn.Module] = {"tdnn": _Convolution(self.head.channels, CHANNELS)}
        channels = CHANNELS
        for number, (count, dilation) in enumerate(BLOCKS, start=1):
            layers[f"block{number}"] = _DenseBlock(channels, count, dilation)
            channels += count * GROWTH
            layers[f"transit{number}"] = _Transition(channels)
            channels //= 2
        layers["out_nonlinear"] = _normalised(channels)
        self.xvector = nn.Sequential()
        for name, layer in layers.items():
            self.xvector.add_module(name, layer)
        self.dense = nn.Linear(2 * channels, dimension)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms [batch, samples] of one length -> embeddings [batch, dimension]."""
        return nn.functional.normalize(self.dense(self.pooled(waveform)), dim=1)

    def pooled(self, waveform: Tensor) -> Tensor:
        """Return the mean and the standard deviation of the last layer over time, [batch, 2 * channels]."""
        frames = self.xvector(self.head(self.front_end(waveform)))
        mean = frames.mean(dim=2)
        variance = ((frames - mean[:, :, None]) ** 2).sum(dim=2) / (frames.shape[2] - 1)
        return torch.cat([mean, (variance + 1e-10).sqrt()], dim=1)

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load weights of the 3D-Speaker project. Its last layer, and the normalisation after it, become one."""
        state = dict(state)
        weight = state.pop("xvector.dense.linear.weight")[:, :, 0]
        prefix = "xvector.dense.nonlinear.batchnorm"
        mean, variance = state.pop(f"{prefix}.running_mean"), state.pop(f"{prefix}.running_var")
        state.pop(f"{prefix}.num_batches_tracked", None)
        scale = (variance + nn.BatchNorm1d(1).eps).rsqrt()
        state |= {"dense.weight": scale[:, None] * weight, "dense.bias": -scale * mean}
        self.load_state_dict(state)


def _normalised(channels: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels))
    layers.add_module("relu", nn.ReLU())
    return layers


class _Spectrum(nn.Module):
    """Two-dimensional convolutions over the mel spectrum, which reduce its bands to an eighth (FCM)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.channels = width * MELS // 8
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(_Residual(width, 2), _Residual(width, 1))
        self.layer2 = nn.Sequential(_Residual(width, 2), _Residual(width, 1))
        self.conv2 = nn.Conv2d(width, width, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, mels: Tensor) -> Tensor:
        """Log mel power [batch, bands, frames] -> [batch, channels, frames]."""
        x = torch.relu(self.bn1(self.conv1(mels[:, None])))
        x = torch.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class _Residual(nn.Module):
    """A residual block of two convolutions. stride: over the bands."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        projection = (nn.Conv2d(width, width, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Sequential(*(projection if stride > 1 else ()))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class _Convolution(nn.Module):
    """The first convolution over time, which halves the frames."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _normalised(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.linear(x))


class _DenseBlock(nn.Module):
    """Layers that each see the outputs of all before them."""

    def __init__(self, channels: int, count: int, dilation: int) -> None:
        super().__init__()
        for layer in range(count):
            self.add_module(f"tdnnd{layer + 1}", _DenseLayer(channels + layer * GROWTH, dilation))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _normalised(channels)
        self.linear1 = nn.Conv1d(channels, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = _normalised(BOTTLENECK)
        self.cam_layer = _MaskedConvolution(dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class _MaskedConvolution(nn.Module):
    """A convolution whose channels are weighted by the mean of the whole recording and of each segment (CAM)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // 2, GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        segments = nn.functional.avg_pool1d(x, SEGMENT, SEGMENT, ceil_mode=True)
        local = segments[..., None].expand(-1, -1, -1, SEGMENT).flatten(2)[:, :, : x.shape[2]]
        context = x.mean(dim=2, keepdim=True) + local
        mask = torch.sigmoid(self.linear2(torch.relu(self.linear1(context))))
        return self.linear_local(x) * mask


class _Transition(nn.Module):
    """Halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _normalised(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.nonlinear(x))


def open_published(file: Path) -> SpeakerNetwork:
    """Load a checkpoint of the 3D-Speaker project."""
    network = SpeakerNetwork()
    network.load_published(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()
