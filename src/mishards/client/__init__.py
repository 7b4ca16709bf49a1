"""What pymilvus does not say of Mishards's answers by itself."""

from mishards.client.explain import explanation

__all__ = ["explanation"]
