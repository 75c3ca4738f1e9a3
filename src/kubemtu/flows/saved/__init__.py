"""A cluster from files: manifests, what was saved, kustomize folders."""
