"""PyTorch networks: the dual encoder and the towers it is made of. Needed to train and to export, never at run time."""

from encoders.networks.dual_encoder import DualEncoder, Projection
from encoders.networks.mel import MelFrontEnd
from encoders.networks.speech_tower import ConvNeXtSpeechTower
from encoders.networks.text_tower import TransformerTextTower

__all__ = ["ConvNeXtSpeechTower", "DualEncoder", "MelFrontEnd", "Projection", "TransformerTextTower"]
