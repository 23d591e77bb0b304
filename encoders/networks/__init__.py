"""PyTorch networks: the dual encoder and the towers it is made of. Needed to train and to export, never at run time."""

from encoders.networks.acoustic_tower import AcousticTower
from encoders.networks.architecture import build_network
from encoders.networks.dual_encoder import DualEncoder, Projection, ReluProjection
from encoders.networks.errors import NetworkError
from encoders.networks.mel import MelFrontEnd
from encoders.networks.phoneme_tower import PhonemeTower
from encoders.networks.speech_tower import ConvNeXtSpeechTower
from encoders.networks.text_tower import TransformerTextTower
from encoders.networks.whisper_tower import WhisperSpeechTower

__all__ = [
    "AcousticTower",
    "ConvNeXtSpeechTower",
    "DualEncoder",
    "MelFrontEnd",
    "NetworkError",
    "PhonemeTower",
    "Projection",
    "ReluProjection",
    "TransformerTextTower",
    "WhisperSpeechTower",
    "build_network",
]
