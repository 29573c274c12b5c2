"""Names of timm that live in a module with a leading underscore."""

from timm.models._features import feature_take_indices

__all__ = ['feature_take_indices']
