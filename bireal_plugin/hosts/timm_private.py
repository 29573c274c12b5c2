"""Names of timm that live in a module with a leading underscore."""

from timm.models._features import feature_take_indices as feature_take_indices
