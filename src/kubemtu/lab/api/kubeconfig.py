"""The kubeconfig document with which kubectl and our own client reach a lab's API."""

from kubemtu.lab.api.resources import Object

ADMIN = "admin"
_NAME = "kubemtu-lab"


def kubeconfig(*, url: str, token: str, authority: str, user: str = ADMIN) -> Object:
    """Return a kubeconfig (v1 Config) for one user; `authority` is the PEM, in base64, that the server is checked with.

    kubectl sends a token over TLS only, so that a server without a certificate is of no use to it
    (client-go `tools/clientcmd/client_config.go`, ClientConfig).
    """
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": user, "namespace": "default"}}],
        "current-context": _NAME,
    }
