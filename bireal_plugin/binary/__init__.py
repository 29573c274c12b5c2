"""The mathematics of 1-bit convolutions: sign and its surrogates, weight binarizers, BinaryConv2d. torch only."""

from bireal_plugin.binary.abc_net import ABCConv2d, WeightBases
from bireal_plugin.binary.activation import Clip, LeakyClip, RPReLU
from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.binary.sign import STE, ApproxSign, ThirdOrder, approx_sign, sign, ste_sign, third_order_sign
from bireal_plugin.binary.switch import binary_convolutions, set_activation, set_weights
from bireal_plugin.binary.weight import MagnitudeAware, Sign
from bireal_plugin.binary.xnor import XNORConv2d, XNORWeight

__all__ = ['ABCConv2d', 'BinaryConv2d', 'XNORConv2d', 'binary_convolutions', 'set_activation', 'set_weights']
__all__ += ['STE', 'ApproxSign', 'ThirdOrder', 'approx_sign', 'sign', 'ste_sign', 'third_order_sign']
__all__ += ['Clip', 'LeakyClip', 'MagnitudeAware', 'RPReLU', 'Sign', 'WeightBases', 'XNORWeight']
