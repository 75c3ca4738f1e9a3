"""The Kubernetes API that a lab needs: one in this process, or a real one; the same interface for both."""

from kubemtu.lab.api.embedded import EmbeddedApi

__all__ = ["EmbeddedApi"]
